"""Every error a user can meet, by name.

An error says what is wrong, where (file and field when there is one) and what to do about it.
`code` is stable and machine-readable; `http_status` is what a server answers; `exit_code` is what
the command line returns.
"""

from __future__ import annotations

from collections.abc import Sequence

_MOST_LISTED = 20


class DescantError(Exception):
    """A mistake or limit the user can act on."""

    code = "descant_error"
    http_status = 500
    exit_code = 1

    wait_s: float | None = None
    """After how long the same request may succeed, where that is known."""

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None):
        self.message = message
        self.field = field
        self.remedy = remedy
        super().__init__(message if remedy is None else f"{message} {remedy}")


class InputError(DescantError):
    """Something the caller sent is wrong; sending it again unchanged will fail again."""

    code = "invalid_request"
    http_status = 400
    exit_code = 2


class InvalidTranscript(InputError):
    """A conversation that cannot be read: empty, malformed or with unknown fields."""

    code = "invalid_transcript"


class ContextTooLong(InputError):
    """More tokens than the model can read at once."""

    code = "context_too_long"


class InvalidIndicator(InputError):
    """An indicator file with a missing, unknown or contradictory field."""

    code = "invalid_indicator"


class UnknownIndicator(InputError):
    """An indicator that was asked for but does not exist."""

    code = "unknown_indicator"
    http_status = 404


class InvalidData(InputError):
    """Labelled data that cannot be used; names file, line and field."""

    code = "invalid_data"


class DuplicateId(InvalidData):
    """Two conversations with the same id."""

    code = "duplicate_id"


class WrongFormat(InvalidData):
    """A file of another format than it was said or looked to be."""

    code = "wrong_format"


class LabelLeak(InvalidData):
    """A label would be visible in the text that is sent to the model."""

    code = "label_leak"


class InvalidConfig(InputError):
    """A setting that is unknown or out of range."""

    code = "invalid_config"


class OverBudget(InputError):
    """A run that would cost more than it may; nothing was begun."""

    code = "over_budget"


class UnsupportedField(InputError):
    """A field, right in itself, that the chosen upstream has no words for; another one may have."""

    code = "unsupported_field"


class InvalidModel(InputError):
    """A model folder or file that cannot be loaded."""

    code = "invalid_model"


class ModelNotFound(InputError):
    """No model of that name here, and none could be fetched."""

    code = "model_not_found"
    http_status = 404


class InvalidAdapter(InputError):
    """An adapter folder that must not be loaded; names file and field."""

    code = "invalid_adapter"


class AdapterNotFound(InputError):
    """No adapter of that name or at that path."""

    code = "adapter_not_found"
    http_status = 404


class AdapterExists(InputError):
    """Another adapter already has that name."""

    code = "adapter_exists"


class RegistryNotFound(InputError):
    """There is no registry at that place yet."""

    code = "registry_not_found"
    http_status = 404


class AliasMoved(InputError):
    """An alias no longer means what the caller took it to mean; nothing was changed."""

    code = "alias_moved"
    http_status = 409


class NothingToRollBack(InputError):
    """An alias has never meant another version than it does now."""

    code = "nothing_to_roll_back"
    http_status = 409


class CatalogueUnavailable(DescantError):
    """The registry's database does not answer; to try again later will help."""

    code = "catalogue_unavailable"
    http_status = 503


class LedgerUnavailable(DescantError):
    """The database of the gateway's books does not answer; to try again later will help."""

    code = "ledger_unavailable"
    http_status = 503


class InvocationMissing(InputError):
    """An aLoRA adapter was asked for but its invocation tokens are not in the prompt."""

    code = "invocation_missing"


class NotFound(InputError):
    """No file or batch of that id belongs to the caller."""

    code = "not_found"
    http_status = 404


class MethodNotAllowed(InputError):
    """A path that is there, asked for in a way it is not made for."""

    code = "method_not_allowed"
    http_status = 405


class CacheCorrupt(DescantError):
    """A cached file does not have the hash it should have."""

    code = "cache_corrupt"


class StorageFull(DescantError):
    """The disk is full; what was already written is intact."""

    code = "storage_full"
    http_status = 507


class OutOfBlocks(DescantError):
    """The KV cache would have no room for this request if it were alone; to try again is no use."""

    code = "out_of_kv_blocks"
    http_status = 400


class NetworkUnavailable(DescantError):
    """A download was needed and could not be made."""

    code = "network_unavailable"
    http_status = 503


class TrainingDiverged(DescantError):
    """The loss is not a number; the last good state is kept."""

    code = "training_diverged"


class MissingDependency(DescantError):
    """An optional extra is needed for this and is not installed."""

    code = "missing_dependency"
    exit_code = 3


class DeadlineExceeded(DescantError):
    """A request was given up because its time had passed."""

    code = "deadline_exceeded"
    http_status = 504


class TeacherUnavailable(DescantError):
    """A teacher that labels are asked of does not answer; to try again later will help."""

    code = "teacher_unavailable"
    http_status = 503


class TeacherRefused(InputError):
    """A teacher does not take what it is asked: no such model, or no such key."""

    code = "teacher_refused"


class EndpointUnusable(InputError):
    """What answers at an address is not what it is asked as, or became something else meanwhile."""

    code = "endpoint_unusable"


class BudgetSpent(DescantError):
    """The next request could cost more than is left; what was paid for is kept."""

    code = "budget_spent"
    http_status = 402


class GarbledAnswer(DescantError):
    """What an upstream sent is no answer to what it was asked."""

    code = "garbled_answer"
    http_status = 502


class TooBusy(DescantError):
    """More is waiting than the server takes; trying again later will help."""

    code = "too_busy"
    http_status = 429


class EngineFailed(DescantError):
    """The engine ended a request that was right."""

    code = "engine_failed"
    http_status = 500


class ReleaseRefused(DescantError):
    """The gate did not let a candidate pass."""

    code = "release_refused"
    exit_code = 4


class ServerStopping(DescantError):
    """The server takes nothing new; another one, or this one after its restart, will answer."""

    code = "stopping"
    http_status = 503


class Unauthorized(DescantError):
    """No key was sent, or one that nobody holds."""

    code = "invalid_api_key"
    http_status = 401


class NotAllowed(DescantError):
    """A key that is known but may not do this."""

    code = "not_allowed"
    http_status = 403


class BodyTooLarge(InputError):
    """More bytes than a request may have."""

    code = "request_too_large"
    http_status = 413


class UnsupportedEncoding(InputError):
    """A request that is compressed: how large it is shows only while it is unpacked."""

    code = "unsupported_encoding"
    http_status = 415


class TooManyConnections(DescantError):
    """A process holds as many connections as it may."""

    code = "too_many_connections"
    http_status = 503


class BodyTooSlow(InputError):
    """A request that was not whole in time."""

    code = "request_timeout"
    http_status = 408


class LimitReached(DescantError):
    """A caller has used what it may for now; `wait_s` says for how long, infinite: for good."""

    code = "rate_limit_exceeded"
    http_status = 429

    def __init__(self, message: str, wait_s: float):
        super().__init__(message)
        self.wait_s = wait_s


class UpstreamsBusy(DescantError):
    """No upstream takes the request now; `wait_s` says when the first one will."""

    code = "upstreams_busy"
    http_status = 503

    def __init__(self, message: str, wait_s: float, http_status: int = 503):
        super().__init__(message)
        self.wait_s = wait_s
        self.http_status = http_status


class UpstreamFailed(DescantError):
    """Every upstream that was asked failed to answer."""

    code = "upstream_failed"
    http_status = 502


class ClientGone(DescantError):
    """Whoever asked hung up before the answer was there."""

    code = "client_gone"
    http_status = 499


def join_errors(errors: Sequence[InputError]) -> InputError:
    """Return one error that says what all of them say: twenty, one a line, and how many more.

    It is of the first one's type and names the first one's field; a single error stays as it is.
    """
    first, *others = errors
    if not others:
        return first
    listed = [str(error) for error in errors[:_MOST_LISTED]]
    more = len(errors) - len(listed)
    listed += [f"... and {more} more."] if more else []
    return type(first)("\n".join([f"{len(errors)} mistakes.", *listed]), field=first.field)
