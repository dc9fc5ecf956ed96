"""A TLS connection of a probe: Python's `ssl` between our own socket and memory.

Not asyncio's TLS, which reads what a server sends as fast as it comes and counts nothing: here the
bytes on the wire are counted, in the handshake and behind it, and other probes get their turns.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from collections.abc import Callable
from typing import TypeVar

from lb_switch.health.check import Target
from lb_switch.health.probes.failure import OwnTroubleError, ProbeFailedError
from lb_switch.health.probes.wire import Wire

MAX_HANDSHAKE = 256 * 1024
"""Bytes on the wire; a chain of certificates may have 100 KiB in OpenSSL."""
_STEP = 4096

H2_ONLY = 'the server speaks HTTP/2 only, the probe HTTP/1.1; use kind = "tcp"'
_ALERT, _HANDSHAKE = 21, 22
"""Content types of records (RFC 8446, section 5.1)."""
_NO_PROTOCOL = bytes((2, 120))
"""Fatal, no_application_protocol (RFC 7301, section 3.2)."""
_ALERT_BYTES = 7
_UNTRUSTED = frozenset({18, 19, 20, 21})
"""OpenSSL: self-signed, alone or in a chain; the issuer is unknown (x509_vfy.h)."""
_OTHER_NAME = frozenset({62, 63, 64})
"""OpenSSL: the certificate is for another name, mail address, or IP address."""

T = TypeVar("T")


def begins_record(start: bytes) -> bool:
    """Whether bytes are the beginning of an alert's or a handshake's record."""
    return len(start) >= 2 and start[0] in (_ALERT, _HANDSHAKE) and start[1] == 3


async def connect(target: Target, max_bytes: int) -> Stream:
    """Connect and shake hands.  Raises ProbeFailedError, OSError.

    `max_bytes` may come behind the handshake.
    """
    context = _context_of(target)
    stream = Stream(context, target.host or str(target.ip), await Wire.open(target))
    try:
        await stream.shake_hands()
    except BaseException:
        stream.close()
        raise
    stream.allow(max_bytes)
    return stream


async def answers_hello(target: Target) -> bool:
    """Whether a server answers a client's hello as TLS does.  Raises OSError."""
    wire = await Wire.open(target)
    try:
        Stream(_context(False, "", 0), target.host or str(target.ip), wire).say_hello()
        start = await wire.read(2)
        return begins_record(start if len(start) != 1 else start + await wire.read(1))
    finally:
        wire.close()


class Stream:
    """One connection."""

    def __init__(
        self,
        context: ssl.SSLContext,
        name: str,
        wire: Wire,
    ) -> None:
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # An IP address is not sent as SNI (RFC 6066, section 3), but looked for in the certificate.
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._received = 0
        self._start = b""
        self._most = MAX_HANDSHAKE
        self._too_much = f"TLS handshake over {MAX_HANDSHAKE // 1024} KiB"

    def allow(self, more: int) -> None:
        """Let so many more bytes come.  Records, tickets and padding have a share of their own."""
        self._most = self._received + 2 * more
        self._too_much = f"answer over {more // 1024} KiB"

    def say_hello(self) -> None:
        """Send what a client begins with."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._flush()

    async def shake_hands(self) -> None:
        """Raise ProbeFailedError, OSError."""
        await self._do(self._tls.do_handshake)

    async def read(self, size: int) -> bytes:
        """Return at most so many bytes; none: the stream has ended.  Raises as `shake_hands`."""
        try:
            return await self._do(lambda: self._tls.read(size))
        except _EndedError:
            # Many servers close without saying so in TLS first; what is missing then, HTTP knows.
            return b""

    def write(self, data: bytes) -> None:
        """Send a request."""
        self._tls.write(data)
        self._flush()

    def close(self) -> None:
        """Say goodbye and close at once: nobody waits for the other side."""
        with contextlib.suppress(ssl.SSLError, OSError):
            self._tls.unwrap()
        self._flush()
        self._wire.close()

    async def _do(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                await self._more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise _EndedError("connection closed in the TLS handshake") from None
            except ssl.SSLError as error:
                self._flush()  # the alert that tells the server why
                # Python has no word for this alert, which a server sends in clear.
                refused = begins_record(self._start) and self._start[5:] == _NO_PROTOCOL
                raise ProbeFailedError(H2_ONLY if refused else _explained(error)) from None
            else:
                self._flush()
                return done

    async def _more(self) -> None:
        data = await self._wire.read(_STEP)
        if not data:
            self._incoming.write_eof()
            return
        first = not self._received
        self._received += len(data)
        if self._received > self._most:
            raise ProbeFailedError(self._too_much)
        self._start += data[: _ALERT_BYTES - len(self._start)]
        if first and data[0] not in (_ALERT, _HANDSHAKE):
            speaks = "plain HTTP" if data.startswith(b"HTTP/") else "no TLS"
            advice = '; use kind = "http"' if speaks == "plain HTTP" else " on this port"
            raise ProbeFailedError(f"the server speaks {speaks}{advice}")
        self._incoming.write(data)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._wire.write(data)


class _EndedError(ProbeFailedError):
    """The other side has closed."""


def _context_of(target: Target) -> ssl.SSLContext:
    changed = 0
    try:
        if target.verify and target.ca_file:
            changed = os.stat(target.ca_file).st_mtime_ns
        return _context(target.verify, target.ca_file if target.verify else "", changed)
    except OSError as error:
        words = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise OwnTroubleError(f"ca_file {target.ca_file}: {words}") from None


@functools.lru_cache(maxsize=64)
def _context(verify: bool, ca_file: str, changed: int) -> ssl.SSLContext:  # noqa: ARG001
    """Kept, since the machine's store takes tens of milliseconds to read; `changed`: since when."""
    if verify:
        context = ssl.create_default_context(cafile=ca_file or None)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _explained(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            advice = "; name the right one with `host`"
        elif error.verify_code in _UNTRUSTED:
            advice = "; trust it with `ca_file`, or set verify = false"
        else:
            advice = ""
        return f"certificate refused: {error.verify_message.rstrip('.')}{advice}"
    words = (error.reason or "protocol error").lower().replace("_", " ")
    return f"TLS failed: {words}"
