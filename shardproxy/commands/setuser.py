"""What ACL SETUSER makes of a user, as Redis' acl.c does. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shardproxy.config.access import hash_of
from shardproxy.dataplane.rules import RuleError, Rules
from shardproxy.dataplane.users import ProxyUser

HASH_DIGITS = frozenset("0123456789abcdef")
MAX_PASSWORDS = 100  # each is hashed against at every login
SYNTAX = "Syntax error"
NO_PASSWORD = "The password you are trying to remove from the user does not exist"
BAD_HASH = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
SANITIZE = ("sanitize-payload", "skip-sanitize-payload")  # the engines do, or do not, as they are configured


class ModifierError(Exception):
    """A word that is refused, and why; passwords are not repeated."""

    def __init__(self, word: str, why: str) -> None:
        super().__init__(f"Error in ACL SETUSER modifier '{word}': {why}")


class SelectorError(Exception):
    """A parenthesis that is not closed."""

    def __init__(self, start: str) -> None:
        super().__init__(f"Unmatched parenthesis in acl selector starting at '{start}'.")


def user_changed(user: ProxyUser, words: Sequence[str], rules: Rules) -> ProxyUser:
    """The user after these modifiers, in their order; raise ModifierError or SelectorError."""
    draft = _Draft(user, rules)
    for word in selectors_joined(words):
        draft.apply(word)
    return draft.done()


def selectors_joined(words: Sequence[str]) -> Iterator[str]:
    """Make one word of those between a parenthesis and its end."""
    open_at: list[str] = []
    for word in words:
        if open_at:
            open_at.append(word)
        elif word.startswith("(") and not word.endswith(")"):
            open_at = [word]
            continue
        else:
            yield word
            continue
        if word.endswith(")"):
            yield " ".join(open_at)
            open_at = []
    if open_at:
        raise SelectorError(open_at[0])


@dataclass(slots=True)
class _Draft:
    user: ProxyUser
    rules: Rules
    _added: list[str] | None = None  # rules that are not part of the user yet

    def apply(self, word: str) -> None:
        lower = word.lower()
        if lower in ("on", "off"):
            self.user = replace(self.user, is_enabled=lower == "on")
        elif lower == "nopass":
            self._check_own(word)
            self.user = replace(self.user, is_nopass=True, passwords=())
        elif lower == "resetpass":
            self._check_own(word)
            self.user = replace(self.user, is_nopass=False, passwords=())
        elif lower == "reset":
            self._check_own(word)
            self.user = replace(self.user, is_enabled=False, is_nopass=False, passwords=(), rules="")
            self._added = None
        elif word.startswith((">", "#")):
            self._check_own(word[0])
            self._add(hash_of(word[1:]) if word[0] == ">" else self._hash(word))
        elif word.startswith(("<", "!")):
            self._check_own(word[0])
            self._remove(hash_of(word[1:]) if word[0] == "<" else self._hash(word), word[0])
        elif lower not in SANITIZE:
            self._added = [*(self._added or ()), word]

    def done(self) -> ProxyUser:
        """The user with all rules in the shortest form."""
        if not self._added:
            return self.user
        try:
            self.rules.check(self._text(len(self._added)))
        except RuleError as error:
            raise ModifierError(*self._culprit(str(error))) from error
        return replace(self.user, rules=self.rules.describe(self._text(len(self._added))).text)

    def _text(self, count: int) -> str:
        return " ".join([self.user.rules, *(self._added or ())[:count]]).strip()

    def _culprit(self, why: str) -> tuple[str, str]:
        """The first word that is refused, and why: all that goes before it is not."""
        added = self._added or []
        good, bad = 0, len(added)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self.rules.check(self._text(middle))
                good = middle
            except RuleError as error:
                bad, why = middle, str(error)
        return added[bad - 1], why

    def _check_own(self, word: str) -> None:
        if self.user.verified_by is not None:
            how = "by IAM tokens" if self.user.verified_by == "iam" else "by an external verifier's word"
            raise ModifierError(word, f"The user logs in {how}")

    def _add(self, password: str) -> None:
        passwords = tuple(dict.fromkeys((*self.user.passwords, password)))
        if len(passwords) > MAX_PASSWORDS:
            raise ModifierError(">", f"A user has at most {MAX_PASSWORDS} passwords")
        self.user = replace(self.user, is_nopass=False, passwords=passwords)

    def _remove(self, password: str, word: str) -> None:
        if password not in self.user.passwords:
            raise ModifierError(word, NO_PASSWORD)
        self.user = replace(self.user, passwords=tuple(p for p in self.user.passwords if p != password))

    @staticmethod
    def _hash(word: str) -> str:
        digits = word[1:]
        if len(digits) != 64 or not set(digits) <= HASH_DIGITS:
            raise ModifierError(word[0], BAD_HASH)
        return digits
