"""ID tokens: one mark that is wrong, and nobody is believed."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from aishark_panel.errors import ForbiddenError, NotAuthorizedError
from aishark_panel.streams.idtoken import LEEWAY_S, identity_of, keys_of, verified_claims
from aishark_panel.streams.oidc_config import OidcConfig

NOW_S = 1_800_000_000.0
CONFIG = OidcConfig(issuer="https://idp.example", client_id="hub", client_secret="s")
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGERS = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
KEYS = keys_of(
    {
        "keys": [
            {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", "use": "sig"},
            {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "e"},
            {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "enc", "use": "enc"},
            {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "broken"},
            "nonsense",
        ]
    }
)
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example",
    "aud": "hub",
    "sub": "4711",
    "exp": NOW_S + 300,
    "iat": NOW_S,
    "nonce": "n",
    "email": "ann@example.org",
    "email_verified": True,
    "groups": ["ops", "dev"],
}


def signed(key: Any = RSA, algorithm: str = "RS256", kid: str = "r", **changed: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def claims_of(token: str, now_s: float = NOW_S) -> dict[str, Any]:
    return verified_claims(token, KEYS, CONFIG, "n", now_s)


def test_both_algorithms_are_believed_whatever_the_clock_of_this_host_says() -> None:
    assert abs(time.time() - NOW_S) > 86_400
    for token in (signed(), signed(EC, "ES256", "e"), signed(aud=["hub"]), signed(aud=["hub", "x"], azp="hub")):
        who = identity_of(claims_of(token), CONFIG)
        assert (who.issuer, who.subject, who.name) == ("https://idp.example", "4711", "ann@example.org")


def test_only_keys_that_sign_are_keys() -> None:
    assert sorted(KEYS) == ["e", "r"]


WRONG: dict[str, dict[str, Any]] = {
    "issuer": {"iss": "https://idp.example.evil"},
    "no issuer": {"iss": None},
    "audience": {"aud": "other"},
    "no audience": {"aud": None},
    "other audiences without a party": {"aud": ["hub", "other"]},
    "party": {"azp": "other"},
    "party of several": {"aud": ["hub", "other"], "azp": "other"},
    "nonce": {"nonce": "m"},
    "nonce of another kind": {"nonce": 5},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "soon"},
    "expired": {"exp": NOW_S - LEEWAY_S},
    "of the future": {"iat": NOW_S + LEEWAY_S + 1},
    "not yet": {"nbf": NOW_S + LEEWAY_S + 1},
    "a start that is no number": {"nbf": "x"},
    "stranger's key": {"key": STRANGERS},
    "stronger but unknown algorithm": {"algorithm": "RS512"},
    "algorithm of another key": {"key": EC, "algorithm": "ES256"},
    "the other key": {"kid": "e"},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_one_wrong_mark_is_enough(changed: dict[str, Any]) -> None:
    with pytest.raises(NotAuthorizedError):
        claims_of(signed(**changed))


def test_a_public_key_is_no_shared_secret() -> None:
    # Who takes the algorithm from the token checks an HMAC with the public key, which everybody has.
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forger = jwt.PyJWS()
    forger.unregister_algorithm("HS256")
    forger.register_algorithm("HS256", _Hmac())
    payload = jwt.encode(CLAIMS, "x" * 32).split(".")[1]
    token = forger.encode(jwt.utils.base64url_decode(payload), public, "HS256", {"kid": "r"})
    for forged in (token, jwt.encode(CLAIMS, "", "none", {"kid": "r"})):
        with pytest.raises(NotAuthorizedError, match="not one of"):
            claims_of(forged)


class _Hmac(jwt.algorithms.HMACAlgorithm):
    """HMAC that takes a public key for its secret, as a forger's would."""

    def __init__(self) -> None:
        super().__init__(jwt.algorithms.HMACAlgorithm.SHA256)

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else key.encode()


@pytest.mark.parametrize("token", ["", "a.b.c", "\u00e9", signed()[:-4], signed().rpartition(".")[0] + "."])
def test_what_is_no_token_is_not_believed(token: str) -> None:
    with pytest.raises(NotAuthorizedError):
        claims_of(token)


def test_a_key_needs_no_name_where_it_is_the_only_one() -> None:
    token = jwt.encode(CLAIMS, RSA, algorithm="RS256")
    assert verified_claims(token, {"r": KEYS["r"]}, CONFIG, "n", NOW_S)["sub"] == "4711"
    with pytest.raises(NotAuthorizedError):
        verified_claims(jwt.encode(CLAIMS, STRANGERS, algorithm="RS256"), {"r": KEYS["r"]}, CONFIG, "n", NOW_S)
    with pytest.raises(KeyError):
        claims_of(token)


def test_an_unknown_key_is_to_be_asked_for() -> None:
    with pytest.raises(KeyError):
        claims_of(signed(kid="new"))


@pytest.mark.parametrize(
    ("config", "claims", "why"),
    [
        ({}, {"email_verified": False}, "verified"),
        ({}, {"email_verified": "true"}, "verified"),
        ({}, {"email": None}, "tells no 'email'"),
        ({"name_claim": "nick"}, {}, "tells no 'nick'"),
        ({"domains": ("example.com",)}, {}, "domain"),
        ({"domains": ("example.org",)}, {"email": "ann@example.org.evil"}, "domain"),
        ({"domains": ("example.org",), "name_claim": "sub"}, {"email_verified": False}, "verified"),
        ({"groups": ("admins",)}, {}, "groups"),
        ({"groups": ("ops",)}, {"groups": "ops"}, "groups"),
        ({"groups": ("ops",)}, {"groups": None}, "groups"),
    ],
)
def test_the_hub_lets_in_whom_it_wants(config: dict[str, Any], claims: dict[str, Any], why: str) -> None:
    wanted = OidcConfig(issuer=CONFIG.issuer, client_id="hub", **config)
    with pytest.raises(ForbiddenError, match=why):
        identity_of({k: v for k, v in (CLAIMS | claims).items() if v is not None}, wanted)


def test_domains_and_groups_that_fit_are_let_in() -> None:
    wanted = OidcConfig(issuer=CONFIG.issuer, client_id="hub", domains=("Example.org",), groups=("dev", "x"))
    assert identity_of(CLAIMS, wanted).name == "ann@example.org"
