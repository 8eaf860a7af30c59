"""The file that names a provider: what it must say, and where its secret may be."""

from pathlib import Path

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.streams.oidc_config import SECRET_VARIABLE, load_oidc


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("issuer: http://idp.example.org\nclient_id: x\n", "https"),
        ("issuer: https://idp\n", "client_id"),
        ("issuer: https://idp\nclient_id: x\nclient_sekret: y\n", "client_sekret"),
        ("issuer: https://idp\nclient_id: x\nclient_secret: y\n", "chmod 600"),
        ("issuer: https://idp\nclient_id: x\ncapabilities: [fly]\n", "fly"),
        ("issuer: https://idp\nclient_id: x\nscopes: [email]\n", "openid"),
        (":", "oidc.yaml"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_in_words(tmp_path: Path, text: str, why: str) -> None:
    config = tmp_path / "oidc.yaml"
    config.write_text(text)
    config.chmod(0o644)
    with pytest.raises(ConfigError, match=why):
        load_oidc(config, {})


def test_the_secret_may_be_in_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "oidc.yaml"
    config.write_text("issuer: https://idp.example.org\nclient_id: x\n")
    loaded = load_oidc(config, {SECRET_VARIABLE: "s"})
    assert (loaded.client_secret, loaded.called) == ("s", "idp.example.org")
