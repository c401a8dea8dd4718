"""Coding agents as their users run them, without a terminal: a home of their own, the base URL of a gateway, headers
that name team and app, and no network but loopback. scripts/setup_tests.sh installs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "agents" / "node_modules"
AIDER = Path(sys.executable).parents[1] / "aider" / "bin" / "aider"
KEY = "sk-test-0123456789"
NOWHERE = "http://127.0.0.1:9"
"""The proxy for all that is not loopback: nobody listens on the port of `discard`."""
LONGEST_S = 60
"""Each ends within five seconds on a machine with nothing else to do; one that repeats a refusal takes longer than this
(aider 70 s, Gemini CLI 202 s)."""


class Ran(NamedTuple):
    """What a run of an agent left: its exit status, all that it printed, its standard output alone, and seconds."""

    status: int
    text: str
    out: str
    seconds: float


class Job(NamedTuple):
    """One prompt for one agent: the gateway's URL, team and app, a fresh home, and which model (`""`: its own)."""

    url: str
    team: str
    app: str
    home: Path
    model: str


class Prepared(NamedTuple):
    """How an agent is started: its arguments and what it needs in its environment."""

    argv: list[str]
    env: dict[str, str]


def run(agent: str, job: Job) -> Ran:
    """Let an agent answer one prompt. Fails where it is not installed or does not end within a minute."""
    job.home.mkdir(parents=True)
    prepared = AGENTS[agent](job)
    program = Path(prepared.argv[1] if prepared.argv[0] == _node() else prepared.argv[0])
    assert program.exists(), f"no {program}; run scripts/setup_tests.sh and read what it says"
    env = {
        "PATH": os.environ["PATH"], "HOME": str(job.home), "TMPDIR": str(job.home), "LANG": "C.UTF-8", "TERM": "dumb",
        "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(
        prepared.argv, cwd=job.home, env=env | prepared.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"{agent} still ran after {LONGEST_S} s:\n{out}\n{err}") from None
    return Ran(process.returncode, f"{out}\n{err}", out, time.monotonic() - began)


def _node() -> str:
    """The node that Playwright brings: each of the agents takes it, and not every system's own is new enough."""
    import playwright

    return str(Path(playwright.__file__).parent / "driver" / "node")


def _claude(job: Job) -> Prepared:
    wrapper = FOLDER / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    argv = [_node(), str(wrapper), "-p", "hi", "--output-format", "json", "--model", job.model]
    env = {
        "ANTHROPIC_BASE_URL": job.url,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_CUSTOM_HEADERS": f"x-llm-team: {job.team}\nx-llm-app: {job.app}",
    }
    return Prepared(argv, env)


def _codex(job: Job, websockets: str = "false") -> Prepared:
    settings = job.home / ".codex" / "config.toml"
    settings.parent.mkdir()
    settings.write_text(
        f'model = "{job.model}"\nmodel_provider = "mesh"\n'
        '[model_providers.mesh]\nname = "mesh"\nenv_key = "OPENAI_API_KEY"\nwire_api = "responses"\n'
        f'base_url = "{job.url}/v1"\nsupports_websockets = {websockets}\n'
        f'http_headers = {{ "x-llm-team" = "{job.team}", "x-llm-app" = "{job.app}" }}\n'
    )
    script = FOLDER / "@openai" / "codex" / "bin" / "codex.js"
    return Prepared([_node(), str(script), "exec", "--skip-git-repo-check", "hi"], {"OPENAI_API_KEY": KEY})


def _gemini(job: Job) -> Prepared:
    settings = job.home / ".gemini" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}}}))
    script = FOLDER / "@google" / "gemini-cli" / "bundle" / "gemini.js"
    env = {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": job.url,
        "GEMINI_CLI_CUSTOM_HEADERS": f"x-llm-team:{job.team},x-llm-app:{job.app}",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    model = ["-m", job.model] if job.model else []
    return Prepared([_node(), str(script), "-p", "hi", "--output-format", "json", *model], env)


def _opencode(job: Job) -> Prepared:
    options = {
        "baseURL": f"{job.url}/v1", "apiKey": KEY, "headers": {"x-llm-team": job.team, "x-llm-app": job.app},
    }  # fmt: skip
    settings = job.home / ".config" / "opencode" / "opencode.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"share": "disabled", "provider": {"anthropic": {"options": options}}}))
    program = FOLDER / "opencode-linux-x64" / "bin" / "opencode"
    argv = [str(program), "run", "--title", "greeting", "--format", "json", "--model", job.model, "hi"]
    return Prepared(argv, {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"})


def _aider(job: Job, **headers: str) -> Prepared:
    named = {"x-llm-team": job.team, "x-llm-app": job.app} | headers
    settings = [{"name": "aider/extra_params", "extra_params": {"extra_headers": named}}]
    (job.home / ".aider.model.settings.yml").write_text(json.dumps(settings))
    argv = [
        str(AIDER), "--model", job.model, "--message", "hi", "--yes-always", "--no-git", "--no-check-update",
        "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes", "--no-pretty",
    ]  # fmt: skip
    env = {"OPENAI_API_KEY": KEY, "OPENAI_API_BASE": f"{job.url}/v1"}
    env |= {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_API_BASE": job.url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Prepared(argv, env)


AGENTS: dict[str, Callable[[Job], Prepared]] = {
    "claude": _claude,
    "codex": _codex,
    "codex-websocket": lambda job: _codex(job, "true"),
    "gemini": _gemini,
    "opencode": _opencode,
    "aider": _aider,
    "aider-named": lambda job: _aider(job, **{"User-Agent": "aider/0.86.2"}),
}
"""Agent, or agent in another setting → how it is prepared."""
