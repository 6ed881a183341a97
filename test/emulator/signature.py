"""SigV4 verification with botocore's signer, never with code of ours.

The order and the texts are AWS's as far as they are known.  Stricter than AWS:
Content-Type and every x-amz-* header must be signed, no signed header may
occur twice, and the payload's hash is always checked.
"""

import calendar
import hashlib
import hmac
import re
import time

from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .errors import ApiError

SERVICE = "secretsmanager"
MAX_SKEW = 300

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})")
_ACCESS_KEY = re.compile(r"[A-Za-z0-9]{16,128}")
_AMZ_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")


class AccessKey:
    """A key that the emulator knows; with a session token it is a temporary one."""

    FIELDS = ("access_key_id", "secret_access_key", "session_token", "expires_at",
              "account", "principal")

    def __init__(self, access_key_id, secret_access_key, session_token=None, expires_at=None,
                 account=None, principal=None):
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.session_token = session_token
        self.expires_at = expires_at
        self.account = account
        self.principal = principal


def _invalid(message):
    return ApiError("InvalidSignatureException", message)


def _incomplete(message):
    return ApiError("IncompleteSignatureException", message)


def _unrecognized():
    return ApiError("UnrecognizedClientException",
                    "The security token included in the request is invalid.")


def _stamp(seconds):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _single(headers, name):
    """The header's value; a second one of a header that is to be signed is refused."""
    values = headers.get_all(name) or []
    if len(values) > 1:
        raise _invalid("Header '%s' occurs more than once." % name)
    return values[0] if values else None


def _check_date(amz_date, scope_date, now):
    if amz_date is None:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or "
                          "a 'Date' header.")
    unreadable = _incomplete("Date must be in ISO-8601 'basic format'. Got '%s'." % amz_date)
    if not _AMZ_DATE.fullmatch(amz_date):
        raise unreadable
    try:
        sent = calendar.timegm(time.strptime(amz_date, "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise unreadable from error
    if sent < now - MAX_SKEW:
        raise _invalid("Signature expired: %s is now earlier than %s (%s - 5 min.)"
                       % (amz_date, _stamp(now - MAX_SKEW), _stamp(now)))
    if sent > now + MAX_SKEW:
        raise _invalid("Signature not yet current: %s is still later than %s (%s + 5 min.)"
                       % (amz_date, _stamp(now + MAX_SKEW), _stamp(now)))
    if scope_date != amz_date[:8]:
        raise _invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                       "date from HTTP: '%s' != '%s', from '%s'."
                       % (scope_date, amz_date[:8], amz_date))


def _check_signed_headers(names, headers):
    if names != sorted(set(names)) or any(name != name.lower() for name in names):
        raise _invalid("SignedHeaders must be in lower case, sorted, and each named once.")
    present = {name.lower() for name in headers.keys()}
    for name in names:
        if name not in present:
            raise _invalid("Signed header '%s' is not in the request." % name)
        if name in SIGNED_HEADERS_BLACKLIST:
            raise _invalid("Header '%s' is changed on the way and must not be signed." % name)
        _single(headers, name)
    needed = {"host", "content-type"} | {name for name in present if name.startswith("x-amz-")}
    for name in sorted(needed):
        if name not in names:
            raise _invalid("'%s' must be a 'SignedHeader' in the AWS Authorization." % name)


def _expected(key, amz_date, region, names, method, path, headers, body):
    request = AWSRequest(method=method, url="http://" + headers["host"] + path,
                         headers={name: headers[name] for name in names}, data=body)
    request.context["timestamp"] = amz_date
    signer = SigV4Auth(Credentials(key.access_key_id, key.secret_access_key, key.session_token),
                       SERVICE, region)
    canonical = signer.canonical_request(request)
    return signer.signature(signer.string_to_sign(request, canonical), request)


def verify(keys, region, now, method, path, headers, body):
    """Return the AccessKey that signed the request, or raise the ApiError AWS would answer.

    headers is an email.message.Message; keys maps an id to an AccessKey.
    """
    authorization = headers.get_all("Authorization") or []
    if not authorization:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    matched = _AUTHORIZATION.fullmatch(authorization[0])
    if len(authorization) > 1 or not matched:
        raise _incomplete("The Authorization header could not be parsed.")
    credential, signed, signature = matched.groups()
    scope = credential.split("/")
    if len(scope) != 5 or not _ACCESS_KEY.fullmatch(scope[0]):
        raise _incomplete("Credential must have exactly 5 slash-delimited elements, e.g. "
                          "keyid/date/region/service/term.")
    key_id, scope_date, scope_region, scope_service, term = scope

    key = keys.get(key_id)
    if key is None:
        raise _unrecognized()
    # a wrong token is told the same way as a wrong key
    token = _single(headers, "X-Amz-Security-Token")
    if token != key.session_token:
        raise _unrecognized()

    if scope_region != region:
        raise _invalid("Credential should be scoped to a valid region. ")
    if scope_service != SERVICE:
        raise _invalid("Credential should be scoped to correct service: '%s'. " % SERVICE)
    if term != "aws4_request":
        raise _invalid("Credential should be scoped with a valid terminator: 'aws4_request', "
                       "not '%s'." % term)
    amz_date = _single(headers, "X-Amz-Date")
    _check_date(amz_date, scope_date, now)
    names = signed.split(";")
    _check_signed_headers(names, headers)

    payload_hash = headers["X-Amz-Content-SHA256"]
    if payload_hash is not None and payload_hash != hashlib.sha256(body).hexdigest():
        raise _invalid("The value of x-amz-content-sha256 is not the SHA-256 of the payload.")
    expected = _expected(key, amz_date, region, names, method, path, headers, body)
    if not hmac.compare_digest(expected, signature):
        raise _invalid("The request signature we calculated does not match the signature you "
                       "provided. Check your AWS Secret Access Key and signing method. Consult "
                       "the service documentation for details.")
    if key.expires_at is not None and now >= key.expires_at:
        raise ApiError("ExpiredTokenException",
                       "The security token included in the request is expired")
    return key
