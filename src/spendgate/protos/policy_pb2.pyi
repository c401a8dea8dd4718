import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BudgetDocument(_message.Message):
    __slots__ = ("namespace", "name", "uid", "resource_version", "generation", "team", "json", "right", "granted")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    team: str
    json: bytes
    right: str
    granted: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., resource_version: _Optional[str] = ..., generation: _Optional[int] = ..., team: _Optional[str] = ..., json: _Optional[bytes] = ..., right: _Optional[str] = ..., granted: _Optional[str] = ...) -> None: ...

class LapsedTeam(_message.Message):
    __slots__ = ("team", "namespace", "name", "uid", "reason", "granted")
    TEAM_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    team: str
    namespace: str
    name: str
    uid: str
    reason: str
    granted: str
    def __init__(self, team: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., reason: _Optional[str] = ..., granted: _Optional[str] = ...) -> None: ...

class PolicySnapshot(_message.Message):
    __slots__ = ("version", "generation", "written_at", "source", "budgets", "lapsed", "checksum")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    LAPSED_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    version: str
    generation: int
    written_at: _timestamp_pb2.Timestamp
    source: str
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetDocument]
    lapsed: _containers.RepeatedCompositeFieldContainer[LapsedTeam]
    checksum: bytes
    def __init__(self, version: _Optional[str] = ..., generation: _Optional[int] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., budgets: _Optional[_Iterable[_Union[BudgetDocument, _Mapping]]] = ..., lapsed: _Optional[_Iterable[_Union[LapsedTeam, _Mapping]]] = ..., checksum: _Optional[bytes] = ...) -> None: ...
