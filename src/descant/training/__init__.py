"""Labelled conversations to adapters: one reading each, all adapters in one pass."""

from descant.training.recipe import ALL_MODULES, Recipe, load_recipe

__all__ = ["ALL_MODULES", "Recipe", "load_recipe"]
