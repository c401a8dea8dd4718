import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPLETE: _ClassVar[Outcome]
    OUTCOME_ABORTED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_REFUSED: _ClassVar[Outcome]
    OUTCOME_UNMETERED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPLETE: Outcome
OUTCOME_ABORTED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_REFUSED: Outcome
OUTCOME_UNMETERED: Outcome

class UsagePart(_message.Message):
    __slots__ = ("model", "tokens", "cost_nanousd")
    class TokensEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    model: str
    tokens: _containers.ScalarMap[str, int]
    cost_nanousd: int
    def __init__(self, model: _Optional[str] = ..., tokens: _Optional[_Mapping[str, int]] = ..., cost_nanousd: _Optional[int] = ...) -> None: ...

class PricedBy(_message.Message):
    __slots__ = ("provider", "service_tier", "residency", "stand_in", "unpriced")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    STAND_IN_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_FIELD_NUMBER: _ClassVar[int]
    provider: str
    service_tier: str
    residency: str
    stand_in: str
    unpriced: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider: _Optional[str] = ..., service_tier: _Optional[str] = ..., residency: _Optional[str] = ..., stand_in: _Optional[str] = ..., unpriced: _Optional[_Iterable[str]] = ...) -> None: ...

class UsageRecord(_message.Message):
    __slots__ = ("exchange_id", "request_id", "time", "team", "app", "user", "run", "dialect", "model_requested", "model", "upstream", "tokens", "cost_nanousd", "estimate_nanousd", "price_version", "decision", "reason", "outcome", "unmetered", "parts", "saved_nanousd", "priced_by", "model_answered", "attempts", "charged_by", "flags", "end_user", "tags", "off_list_nanousd", "markup_nanousd")
    class TokensEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    DIALECT_FIELD_NUMBER: _ClassVar[int]
    MODEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    UNMETERED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    PRICED_BY_FIELD_NUMBER: _ClassVar[int]
    MODEL_ANSWERED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CHARGED_BY_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    END_USER_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    OFF_LIST_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    MARKUP_NANOUSD_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    request_id: str
    time: _timestamp_pb2.Timestamp
    team: str
    app: str
    user: str
    run: str
    dialect: str
    model_requested: str
    model: str
    upstream: str
    tokens: _containers.ScalarMap[str, int]
    cost_nanousd: int
    estimate_nanousd: int
    price_version: str
    decision: str
    reason: str
    outcome: Outcome
    unmetered: str
    parts: _containers.RepeatedCompositeFieldContainer[UsagePart]
    saved_nanousd: int
    priced_by: PricedBy
    model_answered: str
    attempts: int
    charged_by: str
    flags: _containers.RepeatedScalarFieldContainer[str]
    end_user: str
    tags: _containers.ScalarMap[str, str]
    off_list_nanousd: int
    markup_nanousd: int
    def __init__(self, exchange_id: _Optional[str] = ..., request_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., team: _Optional[str] = ..., app: _Optional[str] = ..., user: _Optional[str] = ..., run: _Optional[str] = ..., dialect: _Optional[str] = ..., model_requested: _Optional[str] = ..., model: _Optional[str] = ..., upstream: _Optional[str] = ..., tokens: _Optional[_Mapping[str, int]] = ..., cost_nanousd: _Optional[int] = ..., estimate_nanousd: _Optional[int] = ..., price_version: _Optional[str] = ..., decision: _Optional[str] = ..., reason: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., unmetered: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[UsagePart, _Mapping]]] = ..., saved_nanousd: _Optional[int] = ..., priced_by: _Optional[_Union[PricedBy, _Mapping]] = ..., model_answered: _Optional[str] = ..., attempts: _Optional[int] = ..., charged_by: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ..., end_user: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., off_list_nanousd: _Optional[int] = ..., markup_nanousd: _Optional[int] = ...) -> None: ...
