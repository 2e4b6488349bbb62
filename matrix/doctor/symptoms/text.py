"""A log or traceback without what terminals, launchers and loggers add to it.

Terminals and loggers break messages anywhere, also inside words, and put the prefix of the line in
between. So prefixes are removed line by line, and then all white space: what is compared afterwards
has none either.
"""

from __future__ import annotations

import re

LONGEST = 200_000
"""Characters that are looked at, from the end: the last error is the one to be explained."""

_COLOUR = re.compile(
    r"(?:\x1b|\^\[|\\x1b|\\u001b|\\033|#033)"
    r"(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\))"
    r"|\[\d{1,3}(?:;\d{1,3}){0,4}m"
)
"""ANSI sequences, also as loggers spell the escape character, and without it."""
_BOXES = re.compile("[\u2500-\u257f\u2771\u276f]|(?<=[ \t])[|](?=[ \t\r]*$)", re.MULTILINE)
"""The frame and the arrow of rich's tracebacks, and what closes a line where it draws in ASCII."""
_WINDOWS = re.compile(r"(?:\b[A-Za-z]:)?(?:\\{1,2}[\w.@+-]+){1,40}\.py\b")
_ESCAPES = re.compile(r"\\{1,4}[nrt]")
"""Line breaks and tabs of messages that were logged as JSON or by ``repr``."""
_QUOTES = re.compile(r"\\{0,4}[\"'`\u2018\u2019\u201c\u201d\u201e]")
ENTITIES = {"&quot;": '"', "&#34;": '"', "&#39;": "'", "&#x27;": "'", "&apos;": "'"}
ENTITIES |= {"&lt;": "<", "&gt;": ">", "&nbsp;": "", "&amp;": "&"}
ENTITIES |= {"\uff1a": ":", "\uff0c": ",", "\uff08": "(", "\uff09": ")"}
"""Entities of HTML, and the punctuation that Chinese and Japanese keyboards write."""
_MARKS = re.compile(r"^[\s^~]+$", re.MULTILINE)
"""The lines of ``^`` and ``~`` that Python prints below lines of code."""
_SPACE = re.compile(r"[\s\u200b\ufeff]+")

_LEVEL = r"(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)"
_DATE = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_TIME = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_PREFIXES = re.compile(
    "|".join(
        (
            r"\[[^\]\n]{0,40}(?:rank|default|node|worker|gpu|proc|host|pid|stage)[^\]\n]{0,40}\]:?",
            r"\[\d+,\d+\]<std(?:out|err)>:",  # mpirun --tag-output
            r"\(\w+ pid=\d+(?:, ip=[\d.]+)?\)",  # Ray
            r"\[(?:NeMo )?[A-Z] [^\]\n]{0,120}\]",
            rf"\[?{_DATE}\]?",
            rf"\[{_TIME}\]|{_TIME}(?=\s)",
            r"[IWEF]\d{4} [\d:.]{8,20}\s+\d+ [\w./-]{1,120}:\d+\]",  # glog
            r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,60}",  # syslog
            r"[\w.-]{1,60}\[\d+\]:(?=\s)",
            rf"{_LEVEL} \d\d-\d\d {_TIME} \[?[\w./-]{{1,80}}:\d+\]",  # vLLM
            rf"\[{_LEVEL}[^\]\n]{{0,80}}\]",
            rf"{_LEVEL}:[\w.]{{1,100}}:",
            rf"-\s+[\w.]{{1,100}}\s+-\s+{_LEVEL}\s+-(?=\s)",
            rf"{_LEVEL}\s*[|:-](?=\s)",
            rf"\|\s*{_LEVEL}\s*\|(?:\s*[\w.<>:]{{1,120}}\s+-(?=\s))?",  # loguru
            r"\d{1,5}:(?=\s)",  # srun --label
            r"[a-z][a-z_-]{0,30}[.-]?\d[\w.-]{0,40}:(?=\s)",  # the name of a node has a number
            r"[\w.-]{1,60}\s+\|(?=\s)",  # docker compose
            r"E(?=\s{2,})",  # pytest
            r">(?=\s)",
            r"[-|](?=\s)",
        )
    )
)
MOST_PREFIXES = 8

_FRAME = re.compile(
    r"(?:File'?)?([\w~./@+-]{1,300}\.py)'?(?:(?::(\d{1,6}))?[,:]?in"
    r"(?:(?:\w{1,80}\.){1,5}(?=\w{1,80}\(self)|(?=[\w<]))|:(\d{1,6}):(?=[A-Z]\w{0,80}Error))"
)
"""A frame as IPython, rich and pytest print it: the path, perhaps a line number, and the function.

IPython gives methods with the names of their classes, and with their arguments. pytest has the
class of the exception in place of the function that raised it, whose code it shows before."""


_TRACEBACK = re.compile(r"(?=Traceback\(mostrecentcalllast\))")

PATTERNS = {
    "colour": _COLOUR,
    "boxes": _BOXES,
    "windows": _WINDOWS,
    "escapes": _ESCAPES,
    "quotes": _QUOTES,
    "marks": _MARKS,
    "space": _SPACE,
    "prefixes": _PREFIXES,
    "frame": _FRAME,
    "traceback": _TRACEBACK,
}
"""The patterns of this module by name, for the script of the report's page."""


def squeezed(text: str) -> str:
    """Return a text in the form that patterns are compared with: without white space.

    Colours, prefixes of lines, boxes, and marks below code are removed, entities of HTML are
    characters, all quotation marks are ``'``, and frames are as Python prints them:
    ``File'PATH',line1,inFUNCTION``.
    """
    text = _COLOUR.sub("", text[-LONGEST:])
    text = _WINDOWS.sub(lambda path: re.sub(r"\\+", "/", path[0]), text)
    text = _MARKS.sub("", _ESCAPES.sub("\n", _BOXES.sub(" ", text)))
    lines = (without_prefixes(line) for line in text.splitlines())
    joined = _SPACE.sub("", "".join(lines))
    for entity, character in ENTITIES.items():
        joined = joined.replace(entity, character)
    joined = _QUOTES.sub("'", joined)
    return _FRAME.sub(_as_python_prints_it, joined)


def _as_python_prints_it(frame: re.Match[str]) -> str:
    return f"File'{frame[1]}',line{frame[2] or frame[3] or ''},in"


def without_prefixes(line: str) -> str:
    """Return a line without what launchers and loggers put before it."""
    for _ in range(MOST_PREFIXES):
        line = line.lstrip()
        found = _PREFIXES.match(line)
        if found is None:
            break
        line = line[found.end() :]
    return line


def tracebacks(text: str) -> list[str]:
    """Return the parts of a squeezed text that begin with a traceback, or the text without any.

    What stands before the first one is a part too. A message is read together with the frames of
    its own part, so that frames of another error, or a warning, are not taken for its.
    """
    return [part for part in _TRACEBACK.split(text) if part]
