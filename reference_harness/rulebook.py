"""The rules that a session is under: the operator's policy and the saved grants, as they are at each decision.

A session keeps looking at them; what it saw is on record, and what cannot be read any more allows nothing new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_harness.children import follow
from reference_harness.errors import UsageFault
from reference_harness.fingerprint import guarded
from reference_harness.grants import Grants
from reference_harness.ground import Ground
from reference_harness.policy import PolicyFile
from reference_harness.records import Decision, GrantLost, RulesLoaded
from reference_harness.workflow import CallView

if TYPE_CHECKING:
    from reference_harness.session import Session


def take(session: Session, rules: PolicyFile, grants: Grants, protected: tuple[str, ...]) -> None:
    """Put the session under them.

    Raises UsageFault if they cannot be read, or if the session's mode is not one of the policy's.
    """
    rules.now().mode_for(session.settings.config.mode)
    grants.all()
    session.rules, session.grants, session.protected = rules, grants, protected
    note(session)


def renew(session: Session) -> None:
    """Look at policy, grants and the settings above as they are now; what changed is on record, and holds."""
    follow(session)
    before = session.settings.policy
    if note(session):
        session.renewed += 1
    if session.settings.policy is not before:
        session.assemble_pool()
        session.journal.note(*guarded(session))


def note(session: Session) -> bool:
    """Put what they are now on record. False = it is there already."""
    settings = session.settings
    policy, held, broken = settings.policy, settings.grants, ""
    try:
        policy, held = session.rules.now(), session.grants.of(settings.cwd)
    except UsageFault as fault:
        broken = f"{fault}. Until it can be read, nothing runs that needs permission"
    if (policy.digest, held, broken) == (settings.policy.digest, settings.grants, settings.broken):
        return False
    session.journal.note(RulesLoaded(policy.digest, policy.source, policy.text, held, broken))
    return True


def ground(session: Session, view: CallView) -> Ground:
    """What a decision on this call stands on, now. What was revoked meanwhile no longer counts."""
    renew(session)
    settings = session.settings
    return Ground(
        settings.config, settings.policy, settings.mode, settings.answers(view.call.tool), settings.cwd or "/",
        session.doubtful(view), session.protected, settings.broken,
    )  # fmt: skip


def keep(session: Session, decision: Decision) -> None:
    """Save an answer for always; it is on record before it is saved."""
    session.journal.commit()
    try:
        session.grants.save(decision, session.settings.cwd, session.id)
    except (OSError, UsageFault) as error:
        session.journal.note(GrantLost(decision.call, str(error)))
    renew(session)
