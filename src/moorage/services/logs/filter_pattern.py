"""Filter patterns of CloudWatch Logs, compiled to a predicate over messages. Pure. Source: semantics around §4.

""                     everything
ERROR timeout          both terms, anywhere, as written
"connection refused"   the phrase
?ERROR ?WARN           either (beside other terms the question mark means nothing, as AWS documents)
ERROR -healthcheck     the first and not the second
%40[0-9]%              a regular expression
{ $.level = "error" }  JSON events (filter_json)
[ip, ..., status=5*]   space-delimited events (filter_fields)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from moorage.services.logs.filter_fields import compile_fields
from moorage.services.logs.filter_json import compile_json
from moorage.services.logs.filter_values import MAX_PATTERN, InvalidPattern, Scanner, compile_regex

Predicate = Callable[[str], bool]


class Term(msgspec.Struct, frozen=True):
    mark: str
    found_in: Predicate


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Predicate | None:
    """None when the pattern matches everything; raises InvalidPattern."""
    if len(pattern) > MAX_PATTERN:
        raise InvalidPattern(f"Invalid filter pattern: longer than {MAX_PATTERN} characters")
    text = pattern.strip()
    if not text:
        return None
    if text.startswith("{"):
        return compile_json(text)
    if text.startswith("["):
        return compile_fields(text)
    return _compile_terms(text)


def _compile_terms(text: str) -> Predicate | None:
    scanner = Scanner(text)
    terms: list[Term] = []
    while not scanner.done():
        terms.append(_term(scanner))
    if terms and all(term.mark == "?" for term in terms):
        return lambda message: any(term.found_in(message) for term in terms)
    wanted = [term.found_in for term in terms if term.mark != "-"]
    unwanted = [term.found_in for term in terms if term.mark == "-"]
    return lambda message: all(test(message) for test in wanted) and not any(test(message) for test in unwanted)


def _term(scanner: Scanner) -> Term:
    mark = next((mark for mark in ("?", "-") if scanner.take(mark)), "")
    start = scanner.text[scanner.at : scanner.at + 1]
    if start == '"':
        phrase = scanner.quoted()
        return Term(mark, lambda message: phrase in message)
    if start == "%":
        end = scanner.text.find("%", scanner.at + 1)
        if end > 0:
            regex = compile_regex(scanner.text[scanner.at + 1 : end])
            scanner.at = end + 1
            return Term(mark, lambda message: regex.search(message) is not None)
    end = scanner.at
    while end < len(scanner.text) and not scanner.text[end].isspace():
        end += 1
    word = scanner.text[scanner.at : end]
    scanner.at = end
    if not word:
        raise InvalidPattern("Invalid filter pattern: a mark without a term")
    return Term(mark, lambda message: word in message)
