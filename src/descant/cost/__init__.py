"""What answering costs: an API's price against a machine of one's own; no tensors."""

from descant.cost.comparison import BreakEven, CostComparison, compare_costs
from descant.cost.page import render_cost_page
from descant.cost.prices import ApiPrice, MachinePrice, PriceList, is_old, load_prices
from descant.cost.sensitivity import Case, Sensitivity, sensitivities
from descant.cost.speed import MeasuredSpeed, read_speed
from descant.cost.workload import Workload

__all__ = [
    "ApiPrice",
    "BreakEven",
    "Case",
    "CostComparison",
    "is_old",
    "MachinePrice",
    "MeasuredSpeed",
    "PriceList",
    "Sensitivity",
    "Workload",
    "compare_costs",
    "load_prices",
    "read_speed",
    "render_cost_page",
    "sensitivities",
]
