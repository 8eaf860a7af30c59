"""Options of an agent: units, precedence, profiles, and one clear sentence for each thing that is wrong."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.config import AgentOptions, load_agent_options, parse_size, print_options
from aishark_panel.errors import ConfigError
from tests.codebase.sources import ROOT

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, mode: int = 0o644) -> str:
        path = tmp_path / "agent.yaml"
        path.write_text(text, "utf-8")
        path.chmod(mode)
        return str(path)

    return write


def of(path: str = "", environment: dict[str, str] | None = None, **arguments: str) -> AgentOptions:
    return load_agent_options(path, environment or {}, {k.replace("__", "."): v for k, v in arguments.items()})


EVERYTHING = """
agent:
  name: edge-1
  interfaces: [eth0, eth1]
  filter: tcp port 443
  snaplen: 128
  buffer_size: 8MiB
  promiscuous: no
server:
  url: https://hub.example:8765
  session: night
  api_key: ${THE_KEY}
  ca: /etc/ca.pem
  reconnect_interval: 250ms
  reconnect_max: 1min
  max_retries: -1
performance:
  max_packets_per_second: 1000
  max_bandwidth: 1.5Mbit
  batch_size: 500
  batch_age: 20ms
  compression: zstd
  sampling: 10
  outbox: 1GiB
"""


def test_a_file_can_set_everything(write: Write) -> None:
    options = of(write(EVERYTHING), {"THE_KEY": "s3cret"})
    agent, server, performance = options.agent, options.server, options.performance
    assert (agent.name, agent.interfaces, agent.filter, agent.snaplen) == (
        "edge-1",
        ("eth0", "eth1"),
        "tcp port 443",
        128,
    )
    assert (agent.buffer_size, agent.promiscuous) == (8 * 2**20, False)
    assert (server.url, server.session, server.api_key) == ("https://hub.example:8765", "night", "s3cret")
    assert (server.ca, server.reconnect_interval, server.reconnect_max, server.max_retries) == (
        "/etc/ca.pem",
        0.25,
        60,
        -1,
    )
    assert (performance.max_packets_per_second, performance.max_bandwidth) == (1_000, 1_500_000)
    assert (performance.batch_size, performance.batch_age, performance.compression) == (500, 0.02, "zstd")
    assert (performance.sampling, performance.outbox) == (10, 2**30)


def test_the_command_line_comes_before_the_environment_before_the_file_before_the_default(write: Write) -> None:
    path = write("agent: {snaplen: 100, name: file, filter: file}")
    environment = {"AISHARK_AGENT__SNAPLEN": "200", "AISHARK_AGENT__NAME": "environment", "PATH": "/bin"}
    options = of(path, environment, agent__snaplen="300")
    assert (options.agent.snaplen, options.agent.name, options.agent.filter) == (300, "environment", "file")
    assert options.performance.sampling == 1


def test_the_short_variables_count_as_the_environment() -> None:
    options = of(environment={"AISHARK_HUB": "http://h:1", "AISHARK_TOKEN": "t", "AISHARK_CA": "/ca"})
    assert (options.server.url, options.server.api_key, options.server.ca) == ("http://h:1", "t", "/ca")


def test_lists_in_the_environment_have_commas() -> None:
    assert of(environment={"AISHARK_AGENT__INTERFACES": "eth0, eth1"}).agent.interfaces == ("eth0", "eth1")


def test_an_empty_text_on_the_command_line_counts(write: Write) -> None:
    assert of(write("agent: {filter: tcp}"), agent__filter="").agent.filter == ""


@pytest.mark.parametrize(("text", "payload"), [("headers", "headers"), ("none", "none"), ("full", "full"), ("64", 64)])
def test_what_is_sent_of_packets_is_a_word_or_a_number(write: Write, text: str, payload: str | int) -> None:
    assert of(write(f"agent: {{payload: {text}}}")).agent.payload == payload
    thin = of(write(f"profiles:\n  thin: {{payload: {text}, sampling_by: conversation}}"), agent__profile="thin")
    assert (thin.agent.payload, thin.performance.sampling_by) == (payload, "conversation")


@pytest.mark.parametrize("text", ["", "# nothing\n", "agent:\n", "agent: {}\n"])
def test_an_empty_file_or_section_leaves_the_defaults(write: Write, text: str) -> None:
    assert of(write(text)) == AgentOptions()


PROFILES = """
agent: {filter: tcp, snaplen: 1000, profile: dns}
profiles:
  dns: {filter: port 53, max_packets_per_second: 50}
  thin: {sampling: 100}
"""


def test_a_profile_takes_the_place_of_what_the_file_gives_otherwise(write: Write) -> None:
    options = of(write(PROFILES))
    assert (options.agent.filter, options.agent.snaplen) == ("port 53", 1000)
    assert options.performance.max_packets_per_second == 50
    other = of(write(PROFILES), agent__profile="thin", agent__filter="udp")
    assert (other.agent.filter, other.performance.sampling, other.performance.max_packets_per_second) == ("udp", 100, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agnet:\n  name: a", "line 1: there is no section 'agnet'; did you mean agent?"),
        ("agent:\n  name: a\n  snaplenn: 1", "line 3: agent has no key 'snaplenn'; did you mean snaplen?"),
        ("agent:\n  sampling: 10", "line 2: agent has no key 'sampling'; did you mean performance.sampling?"),
        ("agent:\n  name: a\n  name: b", "line 3: each key must be a name, and stand there once"),
        ("agent:\n  snaplen: ten", "line 2: snaplen must be a whole number, 14 or more and at most 262,144, not 'ten'"),
        ("agent:\n  snaplen: 13", "line 2: snaplen must be"),
        ("agent:\n  payload: half", "line 2: payload must be none, headers, full or a number of bytes"),
        ("agent:\n  payload: 0", "line 2: payload must be none, headers, full or a number of bytes"),
        ("performance:\n  sampling_by: flow", "line 2: sampling_by must be one of packet, conversation, not 'flow'"),
        ("agent:\n  name: [a, b]", "line 2: name must be one text"),
        ("agent:\n  name: {a: b}", "line 2: agent.name must be one value"),
        ("agent:\n  promiscuous: maybe", "line 2: promiscuous must be true or false, not 'maybe'"),
        (
            "agent:\n  buffer_size: 64 elephants",
            "buffer_size must be a size with its unit, 1MiB to 4GiB, such as 64MiB",
        ),
        ("agent:\n  buffer_size: 1kB", "buffer_size must be a size"),
        ("performance:\n  batch_age: 50", "batch_age must be a duration with its unit, 1ms to 1min, such as 50ms"),
        ("performance:\n  max_bandwidth: 100", "max_bandwidth must be a bandwidth with its unit"),
        ("performance:\n  sampling: 0", "sampling must be a whole number, 1 or more, not '0'"),
        ("performance:\n  compression: rar", "compression must be one of auto, none, lz4, zstd, gzip, not 'rar'"),
        ("server:\n  url: hub.example", "url must be an address such as http://127.0.0.1:8765, not 'hub.example'"),
        ("server:\n  url: http://[", "url must be an address"),
        ("server:\n  session: ${NOWHERE}", "line 2: the environment has no variable NOWHERE"),
        ("server:\n  api_key: ${K}\n  api_key_file: /k", "give one of the two"),
        ("agent: [a]", "line 1: agent must hold 'key: value' lines"),
        ("- agent", "the file must hold 'key: value' lines"),
        ("agent: {name: a", "line 1: not YAML"),
        ("agent:\n\tname: a", "line 2: not YAML"),
        ("a: &x [*x]", "there is no section 'a'"),
        ("[" * 5_000, "not YAML"),
        ("profiles:\n  dns: {filter: tcp, url: x}", "line 2: dns has no key 'url'; did you mean server.url?"),
        ("profiles:\n  dns: {snaplen: 1}", "line 2: snaplen must be"),
        ("agent: {profile: web}\nprofiles: {dns: {}}", "there is no profile 'web'; there are dns"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_line(write: Write, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(write(text), {"K": "k"})
    assert words in str(caught.value)
    assert "agent.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"AISHARK_AGENT__SNAPLENN": "1"},
            "AISHARK_AGENT__SNAPLENN is no option; did you mean AISHARK_AGENT__SNAPLEN?",
        ),
        ({"AISHARK_PERFORMANCE__SAMPLING": "x"}, "AISHARK_PERFORMANCE__SAMPLING must be a whole number"),
        ({"AISHARK_HUB": "hub"}, "AISHARK_HUB must be an address"),
        ({"AISHARK_AGENT__PROFILE": "p"}, "there is no profile 'p'; the configuration has none"),
    ],
)
def test_what_is_wrong_in_the_environment_is_said_with_the_variable(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        of(environment=environment)


def test_what_is_wrong_on_the_command_line_is_said_with_the_option() -> None:
    with pytest.raises(ConfigError, match="--batch-age must be a duration"):
        of(performance__batch_age="soon")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (2**20 + 1)])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"agent\.yaml"):
        of(str(path))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--config: /nowhere\.yaml cannot be read: No such file"):
        of("/nowhere.yaml")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    key.chmod(mode)
    with pytest.raises(ConfigError, match=f"--api-key-file: others may read {key}.*chmod 600") as caught:
        of(server__api_key_file=str(key))
    assert "s3cret" not in str(caught.value)
    key.chmod(0o600)
    assert of(server__api_key_file=str(key)).server.api_key == "s3cret"


@pytest.mark.parametrize("content", ["", "two words", "lin\ne", "k\u00e9y"])
def test_a_key_file_that_holds_no_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    key = tmp_path / "key"
    key.write_text(content, "utf-8")
    key.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        of(server__api_key_file=str(key))
    assert not content or content not in str(caught.value)


def test_a_key_in_the_file_itself_makes_that_file_secret(write: Callable[..., str]) -> None:
    text = "server: {api_key: s3cret}"
    with pytest.raises(ConfigError, match=r"line 1: others may read .*agent\.yaml, which holds a secret"):
        of(write(text))
    assert of(write(text, 0o600)).server.api_key == "s3cret"


def test_of_key_and_key_file_the_one_given_nearer_counts(tmp_path: Path, write: Write) -> None:
    key = tmp_path / "key"
    key.write_text("from the file".replace(" ", "-"))
    key.chmod(0o600)
    path = write(f"server: {{api_key_file: {key}}}")
    assert of(path).server.api_key == "from-the-file"
    assert of(path, {"AISHARK_TOKEN": "variable"}).server.api_key == "variable"
    assert of("", {"AISHARK_TOKEN": "variable"}, server__api_key_file=str(key)).server.api_key == "from-the-file"


def test_secrets_are_in_no_repr_and_no_print(write: Write) -> None:
    options = of(write(EVERYTHING), {"THE_KEY": "s3cret"})
    assert "s3cret" not in repr(options)
    assert "s3cret" not in print_options(options)


def test_what_is_printed_can_be_read_again_and_says_where_it_comes_from(write: Callable[..., str]) -> None:
    options = of(write(PROFILES), {"AISHARK_SERVER__SESSION": "it's: #1"}, agent__name="7")
    printed = print_options(options)
    assert "snaplen: 1000  # " in printed
    assert "agent.yaml, line 2" in printed
    assert re.search(r"session: .*  # AISHARK_SERVER__SESSION$", printed, re.MULTILINE)
    assert re.search(r"sampling: 1  # default$", printed, re.MULTILINE)
    again = of(write(printed, 0o600))
    assert (again.agent, again.server, again.performance) == (options.agent, options.server, options.performance)


def test_the_command_prints_what_is_in_force() -> None:
    command = [
        sys.executable,
        "-m",
        "aishark_panel",
        "agent",
        "--snaplen",
        "96",
        "-i",
        "a0",
        "-i",
        "b0",
        "--print-config",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "  snaplen: 96  # --snaplen\n" in done.stdout
    assert "  interfaces: [a0, b0]  # --interface\n" in done.stdout


def test_what_the_command_line_leaves_out_is_left_to_the_file(write: Write) -> None:
    path = write("agent: {interfaces: [eth7], snaplen: 77, filter: udp}\nserver: {max_retries: 3}")
    command = [sys.executable, "-m", "aishark_panel", "agent", "--config", path, "--filter", "", "--print-config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r"interfaces: \[eth7\]  # .*agent\.yaml, line 1", done.stdout)
    assert re.search(r"snaplen: 77  # .*agent\.yaml, line 1", done.stdout)
    assert "filter: ''  # --filter\n" in done.stdout


SECTIONS = ("agent", "server", "performance", "allow")


def test_the_page_on_the_configuration_lists_every_option_with_its_default() -> None:
    page = (ROOT / "docs" / "reference" / "config.md").read_text("utf-8")
    row = re.compile(r"^\| `(\w+)` \| [^|]* \|(?: `([^`]*)`)? \|(?: `([^`]*)`)? \| \S.* \|$", re.MULTILINE)
    sections = {section: page.split(f"### `{section}`\n")[1].split("\n#")[0] for section in SECTIONS}
    rows = [(f"{section}.{key}", *more) for section, text in sections.items() for key, *more in row.findall(text)]
    printed = re.findall(r"^(\w+):$|^  (\w+): (.*?)  # default$", print_options(AgentOptions()), re.MULTILINE)
    expected, section = {}, ""
    for heading, key, default in printed:
        section = heading or section
        if key:
            expected[f"{section}.{key}"] = default.strip("'").removesuffix("[]")
    assert {name: default for name, default, _ in rows} == expected
    flags = {flag for _, _, flag in rows if flag}
    helped = subprocess.run(
        [sys.executable, "-m", "aishark_panel", "agent", "--help"],
        cwd=ROOT, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    assert flags - set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", helped)) == set()


def test_a_size_by_itself_has_its_unit_and_bounds() -> None:
    assert parse_size("1.5GiB", "--journal-size", "128MiB", "1000GiB") == 3 * 2**29
    for text in ("1MiB", "5", "1001GiB", "much", ""):
        with pytest.raises(ConfigError, match=r"^--journal-size must be a size with its unit, 128MiB to 1000GiB"):
            parse_size(text, "--journal-size", "128MiB", "1000GiB")
