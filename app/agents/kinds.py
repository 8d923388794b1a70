"""The kinds of trouble with models, as plain tables: what each is told, and how it is recognised."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A code of the contract, one sentence, and whether asking again can help."""

    code: str
    sentence: str
    retry: bool = False


KINDS = {
    "unknown": Kind("model_error", "The model failed while it answered. Try again.", True),
    "fault": Kind("model_error", "The model's server had a fault of its own. Try again.", True),
    "broke": Kind("model_error", "The model's answer broke off. Try again.", True),
    "crashed": Kind(
        "model_error",
        "The model's process ended while it worked. Try again; its own log says why.",
        True,
    ),
    "no_answer": Kind(
        "model_error", "The model's server sent something that is not an answer. Try again.", True
    ),
    "bad_call": Kind("model_error", "The model wrote a tool call that nobody can read. Try again.", True),
    "away": Kind(
        "model_unavailable",
        "The model cannot be reached right now. Check that it runs, then try again.",
        True,
    ),
    "not_ready": Kind("model_unavailable", "The model is not ready right now. Try again in a while.", True),
    "not_found": Kind(
        "model_not_found",
        "The model is not there. Check its name in the settings (with Ollama: pull it first).",
    ),
    "auth": Kind(
        "model_auth", "The model refused our credentials. Check them, the region and the access to the model."
    ),
    "expired": Kind("model_auth", "Our credentials for the model have expired. Renew them on the server."),
    "clock": Kind(
        "model_auth", "AWS refuses our signature: the clock of the server is wrong, or its secret key."
    ),
    "no_credentials": Kind(
        "model_auth", "There are no credentials for the model on the server. Give it some (aws configure)."
    ),
    "half_key": Kind(
        "model_auth",
        "Half of the AWS key pair is missing on the server: it takes AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY together.",
    ),
    "sign_in": Kind(
        "model_auth",
        "The server is not signed in to AWS any more, or never was. Run aws sso login (or aws login).",
    ),
    "credentials": Kind("model_auth", "The place the AWS credentials should come from does not give any."),
    "throttled": Kind(
        "model_throttled", "The model gets too many requests right now. Wait a little, then try again.", True
    ),
    "quota": Kind("model_throttled", "The quota for this model is used up for today."),
    "busy": Kind("model_overloaded", "The model is too busy right now. Wait a little, then try again.", True),
    "loading": Kind(
        "model_overloaded", "The model is still being loaded. Wait a little, then try again.", True
    ),
    "timeout": Kind("model_timeout", "The model did not answer in time. Try again.", True),
    "overflow": Kind(
        "context_overflow",
        "The chat is longer than the model can read. Begin a new chat, or shorten the message.",
    ),
    "empty": Kind("model_empty", "The model sent an empty answer. Try again.", True),
    "empty_thought": Kind("model_empty", "The model thought, but said nothing. Try again.", True),
    "empty_thinking": Kind(
        "model_empty", "All tokens went into the model's thinking. Raise MAX_TOKENS, or ask for less."
    ),
    "empty_cut": Kind("model_empty", "MAX_TOKENS ended the answer before its first word. Raise it."),
    "empty_filtered": Kind("model_empty", "The provider filtered the answer. Ask in other words."),
    "empty_loop": Kind("model_empty", "The model called tools again and again and never answered."),
    "refused": Kind(
        "model_refused", "The model's provider refused the request. The log of the server says why."
    ),
    "memory": Kind(
        "model_refused",
        "The model needs more memory than its machine has. Take a smaller model, or a smaller CTX_TOKENS.",
    ),
    "retired": Kind(
        "model_refused", "The provider has retired this model. Choose another one in the settings."
    ),
    "form": Kind(
        "model_refused",
        "The provider wants a form filled in before it gives access to this model (AWS console).",
    ),
    "subscription": Kind(
        "model_refused", "The account has no valid subscription or payment for this model (AWS console)."
    ),
    "country": Kind("model_refused", "The provider does not offer this model in this region or country."),
    "no_vision": Kind(
        "no_vision", "The model of this agent cannot see pictures. Choose another agent, or send words only."
    ),
    "unable": Kind(
        "model_refused", "The model cannot do what was asked of it. Choose another model or agent."
    ),
    "max_tokens": Kind(
        "model_setup", "MAX_TOKENS is more than this model can give. Lower it in the settings."
    ),
    "profile_wanted": Kind(
        "model_setup",
        "This model is only to be had through an inference profile. Name one in BEDROCK_MODEL_ID (us.…).",
    ),
    "address": Kind(
        "model_setup", "What answers at the model's address is no model server. Check the address."
    ),
    "tls": Kind("model_setup", "The certificate of the model's server is not trusted here."),
    "region": Kind("model_setup", "The AWS region in the settings does not exist or has no such models."),
    "profile": Kind("model_setup", "AWS_PROFILE names a profile that does not exist on the server."),
    "dependency": Kind(
        "model_setup", "This kind of AWS sign-in needs a package that the server does not have."
    ),
    "aws_files": Kind("model_setup", "A file with AWS settings or credentials cannot be read on the server."),
    "aws_setup": Kind(
        "model_setup", "The AWS set-up of the server is wrong. Its log says how; run make doctor."
    ),
}

OWN_CODES = {  # of a service like this one, where it is the model's server
    "context_overflow": "overflow",
    "model_auth": "auth",
    "model_empty": "empty",
    "model_overloaded": "busy",
    "model_refused": "refused",
    "model_setup": "address",
    "model_throttled": "throttled",
    "model_timeout": "timeout",
    "model_unavailable": "away",
    "no_vision": "no_vision",
}

# what providers say, whatever code or status comes with it; the first that fits counts
TEXTS = [
    (re.compile(pattern, re.IGNORECASE), kind)
    for kind, pattern in [
        *((kind, rf"\b{code}\b") for code, kind in OWN_CODES.items()),
        ("overflow", r"exceeds? (the )?(available )?context|maximum context length|context.length.exceeded"),
        ("overflow", r"exceed_context_size|longer than the context|exceeds the context|exceeded max context"),
        ("overflow", r"(input|prompt) is too long|too many total text bytes|exceed context limit"),
        ("memory", r"more (\w+ )?memory|out of memory|insufficient memory|unable to allocate|malloc failed"),
        ("profile_wanted", r"on-demand throughput"),
        ("max_tokens", r"max(imum|_|_new_|_completion_)? ?tokens.{0,80}(exceeds|too (large|many)|limit of)"),
        ("form", r"use case (details|form)|use-case"),
        (
            "retired",
            r"end of (its )?life|\blegacy\b|no longer (available|supported)|been (retired|deprecated)",
        ),
        ("subscription", r"marketplace|payment|billing|insufficient.{0,10}(credit|balance|funds)"),
        (
            "country",
            r"(unsupported|not (available|supported|allowed) (in|from).{0,20}) (country|region)",
        ),
        ("quota", r"per day|daily"),
        ("loading", r"\bload(ing)? (the )?model|model is (currently )?(loading|being loaded)"),
        ("busy", r"server busy|maximum pending|overloaded|at capacity"),
        ("bad_call", r"parsing tool call|sequence as part of tooluse"),
        (
            "crashed",
            r"runner process|unexpected eof|exit status|signal: |cuda error|llama-server|engine died",
        ),
        (
            "address",
            r"page not found|file not found|<title>404|^\W*((404|not_found_error|detail)\W+)*not found\W*$",
        ),
        ("clock", r"signature (expired|not yet current|we calculated)|does not match the signature"),
        ("expired", r"(token|credential|session|key)s?\b.{0,60}\bexpired"),
    ]
]
NO_MODEL = re.compile(r"model identifier|model id\b|model.{0,80}(not found|does not exist)", re.IGNORECASE)


AWS_CODES = {
    "accessdeniedexception": "auth",
    "unrecognizedclientexception": "auth",
    "invalidsignatureexception": "clock",
    "signaturedoesnotmatch": "clock",
    "requestexpired": "clock",
    "invalidclienttokenid": "auth",
    "missingauthenticationtoken": "auth",
    "missingauthenticationtokenexception": "auth",
    "incompletesignature": "auth",
    "incompletesignatureexception": "auth",
    "optinrequired": "auth",
    "expiredtokenexception": "expired",
    "expiredtoken": "expired",
    "resourcenotfoundexception": "not_found",
    "modelnotreadyexception": "not_ready",
    "serviceunavailableexception": "not_ready",
    "throttlingexception": "throttled",
    "toomanyrequestsexception": "throttled",
    "servicequotaexceededexception": "throttled",
    "modeltimeoutexception": "timeout",
    "validationexception": "refused",
    "modelerrorexception": "fault",
    "modelstreamerrorexception": "broke",
    "internalserverexception": "fault",
    "internalfailure": "fault",
}

# by status, else by its hundred
STATUSES = {
    200: "broke",
    300: "address",
    400: "refused",
    401: "auth",
    402: "subscription",
    403: "auth",
    404: "not_found",
    408: "timeout",
    413: "overflow",
    429: "throttled",
    500: "fault",
    501: "refused",
    502: "away",
    503: "away",
    504: "away",
    529: "busy",
}
