"""What the model is told of a call that gave no result of its own. Each situation has words of its own."""

REFUSED = "refused: this call was not permitted and did not run ({because}). Do not try to get around it."
CANCELLED = "cancelled before it started: the user stopped the turn, and this call had no effect."
DOUBT_CANCELLED = (
    "in doubt: the user stopped the turn while this call was running. It may or may not have had its effect; "
    "check before calling it again."
)
DOUBT_CRASHED = (
    "in doubt: the process ended while this call was running. It may or may not have had its effect; check before "
    "calling it again."
)
NEVER_STARTED = "not run: never started. The session was interrupted before this call began, and the user went on."
LIMIT = "not run: the limit of {limit} is reached, so this call was not started."
UNKNOWN = "not run: there is no tool named {tool} in this session."
LEFT_OUT = "refused: the tool {tool} is not offered in this session, and this call did not run."
REFUSAL = "not run: the reply that asked for it ended in a refusal."
CUT = "not run: its arguments were cut off or are not valid JSON. Send the call again, whole."
CUT_BY_LENGTH = "not run: the reply hit its length limit in this call, so its arguments may be cut off."
NOT_OBJECT = "not run: its arguments are not a JSON object."
STILL_WAITING = (
    "no result yet: this call began something outside, and the wait for its result was given up ({because}). It may "
    "still come about, unseen; check before calling it again."
)
WENT_ON = "the user went on with a new prompt"
STOPPED = "the user stopped the turn"
REPEATED = "not run: it is the same call with the same arguments for the {row}th time in a row. Do something else."
TIMED_OUT = "no answer within {seconds:.3g} seconds: it was told to stop, and may or may not have had its effect."
