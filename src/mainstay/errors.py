"""Every error that Mainstay raises on purpose.

    MainstayError                       500  exit 3
    ├─ ConfigError                      500  exit 2   a value in mainstay.toml, the environment or a flag
    ├─ RequestError                     400
    │  ├─ NotFound                      404   no such path, project, release or file
    │  ├─ AuthorizationRequired         401   upstream wants credentials that the caller did not give
    │  │  └─ UnknownToken               401   a token of ours that is not in force
    │  ├─ MethodRefused                 405   writes, for now
    │  ├─ NotAcceptable                 406   no representation that the client accepts
    │  └─ BodyTooLarge                  413
    ├─ PolicyRefused                    403   a rule says no; always with the reason
    ├─ UpstreamError                    502   expected: logged as a warning
    │  ├─ UpstreamTimeout               504
    │  ├─ UpstreamUnavailable           503   breaker open, budget spent, unreachable, none configured
    │  │  └─ QuotaExceeded              429   the caller's tier does not allow to ask for more now
    │  ├─ UpstreamRefused               502   upstream answered, but not with the thing
    │  ├─ UnsupportedDocument           502   does not parse as the protocol says
    │  └─ TooLarge                      502   over a cap
    ├─ IntegrityError                   502   bytes do not match their digest; always logged as an error
    ├─ EngineFailed                     500  exit 3   what computes answers about usage gave up
    │  └─ EngineMissing                 500  exit 3   it is not installed here, or does not answer
    ├─ SiteFailed                       503   the process that makes the pages does not answer
    └─ StoreError                       500
       ├─ StoreFull                     507
       └─ DataFolderError               500  exit 3   unusable, or of another version

Each class fixes its HTTP status, exit code and log level. There is no mapping table elsewhere, and adapters raise only
`NotFound`, `NotAcceptable` and `UnsupportedDocument`.
"""

from __future__ import annotations

from typing import ClassVar


class MainstayError(Exception):
    """Base of the tree. `message` says what went wrong, `hint` what a person can do next."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3
    level: ClassVar[str] = "error"
    fallback_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.fallback_hint
        self.retry_after_s = retry_after_s

    def diagnostics(self) -> str:
        """One line a person can act on: what happened, then what to do."""
        return f"{self.message} {self.hint}".strip()


class ConfigError(MainstayError):
    """A setting is unknown or has a value that is not allowed; the message names key, value and what is allowed."""

    exit_code = 2


class RequestError(MainstayError):
    """The request itself cannot be answered."""

    status = 400
    level = "info"


class NotFound(RequestError):
    """No such path, project, release or file."""

    status = 404


class AuthorizationRequired(RequestError):
    """Upstream wants credentials; `challenge` is its WWW-Authenticate value, passed on to the client."""

    status = 401

    def __init__(self, message: str, *, hint: str = "", challenge: str = "") -> None:
        super().__init__(message, hint=hint)
        self.challenge = challenge


class UnknownToken(AuthorizationRequired):
    """A token of ours that is not in force: mistyped, never given out, or revoked. Its message says which."""

    fallback_hint = "Ask for another one: mainstay consumer token NAME prints it."

    def __init__(self, message: str, *, hint: str = "") -> None:
        # RFC 6750, section 3.1: for a token that is malformed, revoked or otherwise invalid.
        super().__init__(message, hint=hint, challenge='Bearer realm="mainstay", error="invalid_token"')


class MethodRefused(RequestError):
    """A write, or a method that the path does not have."""

    status = 405
    fallback_hint = "This gateway is read-only: publish to the registry itself."


class NotAcceptable(RequestError):
    """The client accepts no representation that exists."""

    status = 406


class BodyTooLarge(RequestError):
    """The request body is over the cap."""

    status = 413


class PolicyRefused(MainstayError):
    """A rule refuses this release; the message carries the rule's reason."""

    status = 403
    level = "warning"


class UpstreamError(MainstayError):
    """Upstream failed in a way that is to be expected now and then."""

    status = 502
    level = "warning"


class UpstreamTimeout(UpstreamError):
    """Upstream did not answer, or stopped sending, within the time allowed."""

    status = 504


class UpstreamUnavailable(UpstreamError):
    """Upstream cannot be asked now: unreachable, resting after failures, or none is configured."""

    status = 503


class QuotaExceeded(UpstreamUnavailable):
    """The caller has used what its tier allows it, and would have to wait for longer than is sensible. What is stored
    is served all the same. `headers` tell the client of its limits; `violated` names those that it is over."""

    status = 429
    level = "info"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        violated: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)
        self.headers, self.violated = headers, violated


class UpstreamRefused(UpstreamError):
    """Upstream answered with a status that is not the thing asked for."""

    def __init__(self, message: str, *, upstream_status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.upstream_status = upstream_status


class UnsupportedDocument(UpstreamError):
    """Upstream's document does not parse as its protocol says."""


class TooLarge(UpstreamError):
    """Upstream sent more than the cap allows."""


class IntegrityError(MainstayError):
    """Bytes do not match the digest that the index gives for them. Never served complete, never cached."""

    status = 502
    level = "error"


class EngineFailed(MainstayError):
    """What computes answers about usage gave up."""


class EngineMissing(EngineFailed):
    """What computes answers about usage is not installed here, or does not answer."""


class SiteFailed(MainstayError):
    """The process that makes the pages and the API does not answer. Packages are served all the same."""

    status = 503
    fallback_hint = "Try again; the gateway's log says why it ended."


class StoreError(MainstayError):
    """The local store cannot do what was asked."""


class StoreFull(StoreError):
    """No space left on the device, even after eviction."""

    status = 507
    fallback_hint = "Free space on the data folder's disk, or lower [cache] size."


class DataFolderError(StoreError):
    """The data folder cannot be used: not writable, in use by a newer version, or damaged."""
