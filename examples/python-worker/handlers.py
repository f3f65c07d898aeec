"""What this worker can do: a function per job kind.

A handler takes a `Job` and returns anything JSON can hold. Raising an exception fails the attempt, which is then
retried; `Fail` and `Snooze` say more precisely what should follow. Long handlers look at `job.cancelled` now and then.
"""

import collections
import dataclasses
import re
import threading
import typing


@dataclasses.dataclass
class Job:
    """One attempt of a job."""

    id: str
    kind: str
    args: typing.Any
    attempt: int
    max_attempts: int
    traceparent: str
    cancelled: threading.Event
    progress: typing.Callable[[float, str], None]


class Fail(Exception):
    """The attempt failed. `retry=False`: for good. `retry_in`: not before so many seconds."""

    def __init__(self, message: str, retry: bool = True, retry_in: float | None = None):
        super().__init__(message)
        self.retry = retry
        self.retry_in = retry_in


class Snooze(Exception):
    """Not now: the same attempt again after so many seconds."""

    def __init__(self, seconds: float):
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


FENCE = re.compile(r"^(```|~~~)([\w+-]*)[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"https?://[^\s)>\]]+")
MENTION = re.compile(r"(?<![\w@/.])@([A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))")
REFERENCE = re.compile(r"(?<!\w)(?:[\w.-]+/[\w.-]+)?#(\d+)\b")
WORD = re.compile(r"[^\W\d_][\w'-]*")
COMMON = frozenset("a an and are as at be but by for from has have i if in is it its not of on or so that the this to was we with you".split())


def analyse(text: str) -> dict:
    """Facts about a piece of Markdown as people write it in comments."""
    blocks = [(match.group(2) or "plain", match.group(3)) for match in FENCE.finditer(text)]
    prose = INLINE_CODE.sub(" ", FENCE.sub(" ", text))
    links = LINK.findall(prose)
    words = [word.lower() for word in WORD.findall(LINK.sub(" ", prose))]
    telling = collections.Counter(word for word in words if word not in COMMON and len(word) > 2)
    return {
        "characters": len(text),
        "words": len(words),
        "distinct_words": len(set(words)),
        "top_words": [word for word, _ in sorted(telling.items(), key=lambda item: (-item[1], item[0]))[:5]],
        "links": sorted(set(links)),
        "mentions": sorted(set(MENTION.findall(prose))),
        "references": sorted({int(number) for number in REFERENCE.findall(prose)}),
        "code_blocks": [{"language": language, "lines": body.count("\n")} for language, body in blocks],
        "is_question": "?" in prose,
        "reading_seconds": round(len(words) / 3.5),
    }


def issue_comment(job: Job) -> dict:
    """GitHub's issue_comment event, as {"event", "delivery_id", "payload"}."""
    try:
        payload = job.args["payload"]
        comment = payload["comment"]
    except (KeyError, TypeError) as error:
        raise Fail(f"not an issue_comment delivery: {error!r} is missing", retry=False) from error
    job.progress(50, "analysing")
    return {
        "delivery_id": job.args.get("delivery_id"),
        "action": payload.get("action"),
        "repository": (payload.get("repository") or {}).get("full_name"),
        "issue": (payload.get("issue") or {}).get("number"),
        "comment": comment.get("id"),
        "author": (comment.get("user") or {}).get("login"),
        "analysis": analyse(comment.get("body") or ""),
    }


def text_analyse(job: Job) -> dict:
    """Any text, as {"text": …}."""
    text = job.args.get("text") if isinstance(job.args, dict) else None
    if not isinstance(text, str):
        raise Fail('args must be {"text": "…"}', retry=False)
    return analyse(text)


#: Handlers by kind. Add your own.
HANDLERS: dict[str, typing.Callable[[Job], typing.Any]] = {
    "github.issue_comment": issue_comment,
    "text.analyse": text_analyse,
}
