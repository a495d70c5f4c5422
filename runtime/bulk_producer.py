"""A producer that is handed records by the hundred: for a writer to whom a Python call a record, and one a report, is too much.

It is librdkafka, the one that `confluent_kafka` carries. Many records go in by one call, as places within bytes that
lie one behind the other, and their reports come back as arrays of offsets. Source: librdkafka's `rdkafka.h`.
"""

from __future__ import annotations

import ctypes
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl
from numpy.typing import NDArray

from runtime.kafka import producer_properties
from runtime.settings import KafkaSettings
from schemas.headers import Headers

Report = Callable[[KafkaError | None, NDArray[np.int64]], None]
"""Told of records of a partition in their order: what went wrong with them or null, and their offsets."""

MOST_UNDER_WAY: Final = 50_000
"""Records that are not reported yet. librdkafka takes twice as many: it never refuses one amid others, which would swap them."""
_AT_ONCE: Final = 4096
_FLUSH_STEP_MS: Final = 2

_PRODUCER, _COPY = 0, 2
_REPORTS, _LOGS = 0x1, 0x4
_ERROR_BYTES: Final = 512
_LEVELS: Final = (*[logging.CRITICAL] * 3, logging.ERROR, logging.WARNING, *[logging.INFO] * 2, logging.DEBUG)

log = logging.getLogger("librdkafka")


class _Message(ctypes.Structure):
    """`rd_kafka_message_t`: a record to be produced, and its report."""

    _fields_ = (
        ("error", ctypes.c_int32),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("value", ctypes.c_void_p),
        ("value_length", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_length", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("opaque", ctypes.c_void_p),
    )


_MESSAGE: Final = np.dtype(_Message)
_OFFSET_WORD, _OPAQUE_WORD = _Message.offset.offset // 8, _Message.opaque.offset // 8


class _Bytes(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_char_p), ("length", ctypes.c_ssize_t))


class _Content(ctypes.Union):
    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("number", ctypes.c_int32),
        ("data", _Bytes),
        ("header", _Header),
        ("room", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    """`rd_kafka_vu_t`."""

    _fields_ = (("kind", ctypes.c_int), ("content", _Content))


_RKT, _PARTITION, _VALUE, _KEY, _OPAQUE, _FLAGS, _HEADER = 2, 3, 4, 5, 6, 7, 9


class BulkProducer:
    """Like `confluent_kafka.Producer`, but reports tell of many records at once. For one thread.

    Args:
        settings: where Kafka is.
        overrides: librdkafka properties, as for `runtime.kafka.producer`; no callbacks.

    Raises:
        KafkaException: librdkafka does not take a property.
    """

    def __init__(self, settings: KafkaSettings, **overrides: Any) -> None:
        properties = producer_properties(settings, **overrides)
        # Its log goes into the queue of its reports.
        properties = {**properties, "log.queue": True}
        properties.pop("logger", None)
        self._client = _client(properties)
        self._reports = _lib.rd_kafka_queue_get_main(self._client)
        _lib.rd_kafka_set_log_queue(self._client, self._reports)
        self._topics: dict[str, int] = {}
        self._tell: list[Report] = []
        self._numbers: dict[Report, int] = {}
        self._under_way = 0
        self._rows = np.zeros(_AT_ONCE, _MESSAGE)
        self._addresses = np.zeros(_AT_ONCE, np.uint64)
        weakref.finalize(self, _close, self._client, self._reports, self._topics)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes,
        partition: int,
        on_delivery: Report,
        *,
        headers: Headers | None = None,
    ) -> None:
        """Produce one record.

        Raises:
            BufferError: too many are under way; poll, and try again.
            KafkaException: it is refused.
        """
        self._make_sure_of_room(1)
        given = [
            _Argument(_RKT, _Content(pointer=self._topic(topic))),
            _Argument(_PARTITION, _Content(number=partition)),
            _Argument(_KEY, _Content(data=_Bytes(key, len(key)))),
            _Argument(_OPAQUE, _Content(pointer=self._number_of(on_delivery))),
            _Argument(_FLAGS, _Content(number=_COPY)),
        ]
        if value is not None:
            given.append(_Argument(_VALUE, _Content(data=_Bytes(value, len(value)))))
        for header, text in headers or ():
            content = _Header(header.encode(), text, len(text))
            given.append(_Argument(_HEADER, _Content(header=content)))
        error = _lib.rd_kafka_produceva(self._client, (_Argument * len(given))(*given), len(given))
        if error:
            code = _lib.rd_kafka_error_code(error)
            _lib.rd_kafka_error_destroy(error)
            raise KafkaException(KafkaError(code))
        self._under_way += 1

    def produce_all(
        self,
        topic: str,
        partition: int,
        keys: bytes,
        key_ends: NDArray[np.int64],
        values: bytes,
        value_ends: NDArray[np.int64],
        on_delivery: Report,
    ) -> None:
        """Produce records whose keys and values lie one behind the other, each to its place in `…_ends`.

        Raises:
            BufferError: too many are under way; none was taken. Poll, and try again.
            KafkaException: one is refused; others may have been taken.
        """
        count = len(key_ends)
        self._make_sure_of_room(count)
        if len(self._rows) < count:
            self._rows = np.zeros(max(count, _AT_ONCE), _MESSAGE)
        rows = self._rows[:count]
        for name, data, ends in (("key", keys, key_ends), ("value", values, value_ends)):
            begins = np.zeros_like(ends)
            begins[1:] = ends[:-1]
            rows[name], rows[f"{name}_length"] = _address(data) + begins, ends - begins
        rows["opaque"] = self._number_of(on_delivery)
        taken = _lib.rd_kafka_produce_batch(self._topic(topic), partition, _COPY, rows.ctypes.data, count)
        self._under_way += taken
        if taken < count:
            raise KafkaException(KafkaError(int(rows["error"][rows["error"] != 0][0])))

    def poll(self) -> None:
        """Take in the reports that are there."""
        event = _lib.rd_kafka_queue_poll(self._reports, 0)
        while event:
            kind = _lib.rd_kafka_event_type(event)
            if kind == _REPORTS:
                self._take_in(event)
            elif kind == _LOGS:
                _tell_log(event)
            _lib.rd_kafka_event_destroy(event)
            event = _lib.rd_kafka_queue_poll(self._reports, 0)

    def flush(self, timeout_s: float) -> int:
        """Send at once what lingers and take reports in until none is missing, or for so long; how many are missing."""
        until = time.monotonic() + timeout_s
        self.poll()
        while self._under_way and time.monotonic() < until:
            # It wakes the threads that send, and does not take reports in.
            _lib.rd_kafka_flush(self._client, _FLUSH_STEP_MS)
            self.poll()
        return self._under_way

    def _make_sure_of_room(self, count: int) -> None:
        if self._under_way and self._under_way + count > MOST_UNDER_WAY:
            raise BufferError(f"{self._under_way} records are under way")

    def _topic(self, name: str) -> int:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _lib.rd_kafka_topic_new(self._client, name.encode(), None)
        return topic

    def _number_of(self, tell: Report) -> int:
        number = self._numbers.get(tell)
        if number is None:
            number = self._numbers[tell] = len(self._tell)
            self._tell.append(tell)
        return number

    def _take_in(self, event: int) -> None:
        addresses = self._addresses
        while count := _lib.rd_kafka_event_message_array(event, addresses.ctypes.data, len(addresses)):
            self._under_way -= count
            errors, offsets, opaques = _reported(addresses[:count])
            if (opaques == opaques[0]).all() and not errors.any():
                self._tell[opaques[0]](None, offsets)
                continue
            for opaque, code in dict.fromkeys(zip(opaques.tolist(), errors.tolist(), strict=True)):
                own = (opaques == opaque) & (errors == code)
                self._tell[opaque](KafkaError(code) if code else None, offsets[own])


class _Memory:
    """Words of this process's memory, as numpy takes them."""

    def __init__(self, begin: int, end: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": "<i8",
            "data": (begin, True),
            "shape": ((end - begin) // 8,),
        }


def _reported(
    addresses: NDArray[np.uint64],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Errors, offsets and opaques of the messages at these addresses."""
    begin = int(addresses.min())
    words = np.asarray(_Memory(begin, int(addresses.max()) + _MESSAGE.itemsize))
    firsts = ((addresses - np.uint64(begin)) >> np.uint64(3)).astype(np.int64)
    # An error is the lower half of its word.
    return words[firsts].astype(np.int32), words[firsts + _OFFSET_WORD], words[firsts + _OPAQUE_WORD]


def _address(data: bytes) -> int:
    return np.frombuffer(data, np.uint8).ctypes.data if data else 0


def _client(properties: Mapping[str, Any]) -> int:
    told = ctypes.create_string_buffer(_ERROR_BYTES)
    conf = _lib.rd_kafka_conf_new()
    _lib.rd_kafka_conf_set_events(conf, _REPORTS | _LOGS)
    for name, value in properties.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if _lib.rd_kafka_conf_set(conf, name.encode(), text.encode(), told, _ERROR_BYTES):
            _lib.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, told.value.decode()))
    client: int | None = _lib.rd_kafka_new(_PRODUCER, conf, told, _ERROR_BYTES)
    if client is None:
        _lib.rd_kafka_conf_destroy(conf)
        raise KafkaException(KafkaError(KafkaError._FAIL, told.value.decode()))
    return client


def _close(client: int, reports: int, topics: dict[str, int]) -> None:
    """Give everything back; what is under way is not waited for."""
    for topic in topics.values():
        _lib.rd_kafka_topic_destroy(topic)
    _lib.rd_kafka_queue_destroy(reports)
    _lib.rd_kafka_destroy(client)


def _tell_log(event: int) -> None:
    facility, text, level = ctypes.c_char_p(), ctypes.c_char_p(), ctypes.c_int()
    if _lib.rd_kafka_event_log(event, ctypes.byref(facility), ctypes.byref(text), ctypes.byref(level)) == 0:
        log.log(_LEVELS[level.value], "%s %s", (facility.value or b"").decode(), (text.value or b"").decode())


def _library() -> ctypes.CDLL:
    """What `confluent_kafka`'s compiled module is linked to; its functions are found by way of it."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    for name, result, arguments in (
        ("conf_new", pointer, ()),
        ("conf_destroy", None, (pointer,)),
        ("conf_set", number, (pointer, text, text, pointer, size)),
        ("conf_set_events", None, (pointer, number)),
        ("new", pointer, (number, pointer, pointer, size)),
        ("destroy", None, (pointer,)),
        ("topic_new", pointer, (pointer, text, pointer)),
        ("topic_destroy", None, (pointer,)),
        ("queue_get_main", pointer, (pointer,)),
        ("queue_destroy", None, (pointer,)),
        ("queue_poll", pointer, (pointer, number)),
        ("set_log_queue", number, (pointer, pointer)),
        ("event_type", number, (pointer,)),
        ("event_log", number, (pointer, pointer, pointer, pointer)),
        ("event_destroy", None, (pointer,)),
        ("event_message_array", size, (pointer, pointer, size)),
        ("produceva", pointer, (pointer, pointer, size)),
        ("produce_batch", number, (pointer, ctypes.c_int32, number, pointer, number)),
        ("error_code", number, (pointer,)),
        ("error_destroy", None, (pointer,)),
        ("flush", number, (pointer, number)),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_lib: Final = _library()
