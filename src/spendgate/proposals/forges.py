"""Pull requests on GitHub and merge requests on GitLab, by their published REST APIs.

GitHub: https://docs.github.com/rest/pulls/pulls#create-a-pull-request (2022-11-28),
https://docs.github.com/rest/issues/comments, https://docs.github.com/rest/pulls/review-requests.
GitLab: https://docs.gitlab.com/api/merge_requests/#create-mr, https://docs.gitlab.com/api/notes/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from spendgate.errors import ConfigurationError, SpendgateError
from spendgate.proposals.repository import Remote
from spendgate.values import dataclass

TIMEOUT_S = 30.0


def inert(text: str) -> str:
    """A person's words, or a name, that mention nobody and make no markup."""
    return text.replace("@", "@\u200b").replace("<", "&lt;").replace("`", "'")


class ForgeError(SpendgateError):
    """The forge refused; the message says which call, its status and its own words."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What was opened, or was there already. `warnings`: what did not work beside it."""

    url: str
    number: int
    existed: bool = False
    warnings: tuple[str, ...] = field(default=())


class Forge(Protocol):
    """One kind of forge."""

    name: str

    def open(
        self, branch: str, base: str, title: str, body: str, comments: Sequence[str], reviewers: Sequence[str]
    ) -> PullRequest:
        """Open a request, ask the reviewers, add the comments. The same branch twice gives the first one."""
        ...


def find_forge(remote: Remote, kind: str, environ: Mapping[str, str]) -> Forge | None:
    """The forge of a remote: by `kind` (`github`, `gitlab`, `none`), or `auto` by its host.

    Tokens: GITHUB_TOKEN, GITLAB_TOKEN. APIs of one's own: GITHUB_API_URL, GITLAB_API_URL. None: plain git.
    Raises ConfigurationError where a forge is asked for and its token is missing.
    """
    kind = kind_of(remote, kind)
    if kind == "none":
        return None
    token = environ.get(f"{kind.upper()}_TOKEN", "")
    if not token:
        raise ConfigurationError(
            f"{kind.upper()}_TOKEN is not set; give a token that may open {_REQUEST[kind]}, or --forge none "
            "to push the branch only"
        )
    if not remote.path:
        raise ConfigurationError(f"{remote.url}: not a repository of {kind}; give its URL by --repo")
    if kind == "github":
        api = "https://api.github.com" if remote.host == "github.com" else f"https://{remote.host}/api/v3"
        return GitHub(environ.get("GITHUB_API_URL") or api, remote.path, token)
    return GitLab(environ.get("GITLAB_API_URL") or f"https://{remote.host}/api/v4", remote.path, token)


def reach(
    repo: str, base: str, kind: str, environ: Mapping[str, str], *, reads_only: bool = False
) -> tuple[Remote, Forge | None]:
    """The policy's repository with the token that reads and pushes, and the forge where a request is opened: none
    for who only reads. `repo`, `base`: as Remote.of takes them. Raises as `find_forge`."""
    remote = Remote.of(repo, base)
    token = environ.get(f"{kind_of(remote, kind).upper()}_TOKEN", "")
    remote = Remote(remote.url, remote.base, token)
    return remote, None if reads_only else find_forge(remote, kind, environ)


def kind_of(remote: Remote, kind: str) -> str:
    """`github`, `gitlab` or `none`: what `auto` means for a remote."""
    if kind != "auto":
        return kind
    return next((k for k in ("github", "gitlab") if k in remote.host), "none")


_REQUEST = {"github": "pull requests", "gitlab": "merge requests"}


class _Api:
    name = ""

    def __init__(self, api: str, path: str, headers: dict[str, str]) -> None:
        self._path = path
        self._http = httpx.Client(
            base_url=api.rstrip("/"), headers={"user-agent": "spendgate", **headers}, timeout=TIMEOUT_S
        )

    def call(self, method: str, url: str, ok: Sequence[int] = (200, 201), **more: Any) -> httpx.Response:
        """Raises ForgeError for any status that is not in `ok`."""
        try:
            response = self._http.request(method, url, **more)
        except httpx.HTTPError as e:
            raise ForgeError(f"{self.name}: {method} {url}: {type(e).__name__}: {e}") from e
        if response.status_code not in ok:
            said = " ".join(response.text.split())[:400]
            raise ForgeError(f"{self.name}: {method} {url}: {response.status_code}: {said}")
        return response

    def quietly(self, what: str, method: str, url: str, **more: Any) -> list[str]:
        """A call beside the main one: its failure is told, and does not undo what stands."""
        try:
            self.call(method, url, **more)
        except ForgeError as e:
            return [f"{what}: {e}"]
        return []


class GitHub(_Api):
    """github.com and GitHub Enterprise."""

    name = "github"

    def __init__(self, api: str, path: str, token: str) -> None:
        super().__init__(
            api,
            path,
            {
                "authorization": f"Bearer {token}",
                "accept": "application/vnd.github+json",
                "x-github-api-version": "2022-11-28",
            },
        )

    def open(
        self, branch: str, base: str, title: str, body: str, comments: Sequence[str], reviewers: Sequence[str]
    ) -> PullRequest:
        repo = f"/repos/{self._path}"
        answer = self.call(
            "POST",
            f"{repo}/pulls",
            ok=(201, 422),
            json={"title": title, "head": branch, "base": base, "body": body},
        )
        if answer.status_code == 422:
            owner = self._path.partition("/")[0]
            query = {"head": f"{owner}:{branch}", "state": "open"}
            found = self.call("GET", f"{repo}/pulls", params=query).json()
            if not found:
                raise ForgeError(f"github: POST {repo}/pulls: 422: {' '.join(answer.text.split())[:400]}")
            return PullRequest(str(found[0]["html_url"]), int(found[0]["number"]), existed=True)
        made = answer.json()
        number = int(made["number"])
        warnings: list[str] = []
        if reviewers:
            people = [r for r in reviewers if "/" not in r]
            teams = [r.partition("/")[2] for r in reviewers if "/" in r]
            warnings += self.quietly(
                "reviewers were not asked",
                "POST",
                f"{repo}/pulls/{number}/requested_reviewers",
                json={"reviewers": people, "team_reviewers": teams},
            )
        for comment in comments:
            warnings += self.quietly(
                "a comment is missing", "POST", f"{repo}/issues/{number}/comments", json={"body": comment}
            )
        return PullRequest(str(made["html_url"]), number, warnings=tuple(warnings))


class GitLab(_Api):
    """gitlab.com and GitLab of one's own."""

    name = "gitlab"

    def __init__(self, api: str, path: str, token: str) -> None:
        super().__init__(api, path, {"private-token": token})

    def open(
        self, branch: str, base: str, title: str, body: str, comments: Sequence[str], reviewers: Sequence[str]
    ) -> PullRequest:
        requests = f"/projects/{quote(self._path, safe='')}/merge_requests"
        ids, warnings = self._ids(reviewers)
        answer = self.call(
            "POST",
            requests,
            ok=(201, 409),
            json={
                "source_branch": branch,
                "target_branch": base,
                "title": title,
                "description": body,
                "reviewer_ids": ids,
                "remove_source_branch": True,
            },
        )
        if answer.status_code == 409:
            found = self.call("GET", requests, params={"source_branch": branch, "state": "opened"}).json()
            if not found:
                raise ForgeError(f"gitlab: POST {requests}: 409: {' '.join(answer.text.split())[:400]}")
            return PullRequest(str(found[0]["web_url"]), int(found[0]["iid"]), existed=True)
        made = answer.json()
        number = int(made["iid"])
        for comment in comments:
            warnings += self.quietly(
                "a comment is missing", "POST", f"{requests}/{number}/notes", json={"body": comment}
            )
        return PullRequest(str(made["web_url"]), number, warnings=tuple(warnings))

    def _ids(self, names: Sequence[str]) -> tuple[list[int], list[str]]:
        ids: list[int] = []
        warnings: list[str] = []
        for name in names:
            try:
                found = (
                    self.call("GET", "/users", params={"username": name}).json() if "/" not in name else []
                )
            except ForgeError as e:
                warnings.append(f"reviewer {name} was not asked: {e}")
                continue
            if found:
                ids.append(int(found[0]["id"]))
            else:
                warnings.append(f"reviewer {name} was not asked: no user of that name")
        return ids, warnings
