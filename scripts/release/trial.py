"""The image tried out: `spendgate up` in it, under a user that it does not know, answers and refuses calls."""

from __future__ import annotations

from release.artefacts import Release, ReleaseError
from release.run import buildah

USER = "1000660000:0"
"""As OpenShift would run it."""
TRIAL = r"""
import json, os, pathlib, socket, subprocess, sys, time, urllib.error, urllib.request

def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

folder = pathlib.Path("/var/lib/spendgate")
def budget(team, usd):
    spec = {"team": team, "monthlyBudgetUSD": usd}
    return {"apiVersion": "ai.systemhardening.com/v1", "kind": "LLMBudget", "metadata": {"name": team}, "spec": spec}
(folder / "policy.yaml").write_text("---\n".join(json.dumps(budget(*b)) + "\n" for b in (("rich", 100), ("poor", 0))))
mock, listen, admin = (f"127.0.0.1:{free()}" for _ in range(3))
started = [
    subprocess.Popen(["spendgate", "mock-provider", "--listen", mock], stdout=sys.stderr),
    subprocess.Popen(["spendgate", "up", "--policy", folder / "policy.yaml", "--upstream", f"http://{mock}",
                      "--listen", listen, "--admin", admin, "--data-dir", folder / "data"], stdout=sys.stderr),
]
def call(team):
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}).encode()
    headers = {"content-type": "application/json", "x-llm-team": team, "x-llm-app": "trial"}
    request = urllib.request.Request(f"http://{listen}/v1/chat/completions", body, headers)
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
try:
    deadline = time.monotonic() + 60
    while (seen := call("rich")) != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    print(json.dumps({"user": os.getuid(), "rich": seen, "poor": call("poor")}))
finally:
    for process in reversed(started):
        process.terminate()
    for process in started:
        process.wait(30)
"""


def trial(release: Release, container: str) -> None:
    """Run it in a container of the image; what it answers must be 200 for who has money, 429 for who has none."""
    said = buildah("run", "--user", USER, container, "--", "python", "-c", TRIAL).splitlines()[-1]
    if said != '{"user": 1000660000, "rich": 200, "poor": 429}':
        raise ReleaseError(f"{release.image.name}: a budget does not hold in it: {said}")
    version = buildah("run", "--user", USER, container, "--", "spendgate", "--version")
    if release.python_version not in version:
        raise ReleaseError(f"{release.image.name} runs {version}")


def trial_of_the_archive(release: Release) -> None:
    """The same for an image that is there already."""
    container = buildah("from", f"oci-archive:{release.image}")
    try:
        trial(release, container)
    finally:
        buildah("rm", container)
