# cython: language_level=3
# distutils: libraries = yaml
"""libyaml's events of a text as flat lists; see flat_events.pyi. Built into the compiled wheel."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport strlen

cdef extern from "yaml.h":
    ctypedef unsigned char yaml_char_t
    ctypedef enum yaml_scalar_style_t:
        YAML_SINGLE_QUOTED_SCALAR_STYLE
        YAML_DOUBLE_QUOTED_SCALAR_STYLE
        YAML_LITERAL_SCALAR_STYLE
        YAML_FOLDED_SCALAR_STYLE
    ctypedef enum yaml_mapping_style_t:
        YAML_FLOW_MAPPING_STYLE
    ctypedef enum yaml_sequence_style_t:
        YAML_FLOW_SEQUENCE_STYLE
    ctypedef enum yaml_event_type_t:
        YAML_STREAM_END_EVENT
        YAML_ALIAS_EVENT
        YAML_SCALAR_EVENT
        YAML_SEQUENCE_START_EVENT
        YAML_SEQUENCE_END_EVENT
        YAML_MAPPING_START_EVENT
        YAML_MAPPING_END_EVENT
    ctypedef struct yaml_mark_t:
        size_t index
    ctypedef struct _alias:
        yaml_char_t *anchor
    ctypedef struct _scalar:
        yaml_char_t *anchor
        yaml_char_t *tag
        yaml_char_t *value
        size_t length
        yaml_scalar_style_t style
    ctypedef struct _sequence_start:
        yaml_char_t *anchor
        yaml_char_t *tag
        yaml_sequence_style_t style
    ctypedef struct _mapping_start:
        yaml_char_t *anchor
        yaml_char_t *tag
        yaml_mapping_style_t style
    ctypedef struct _data:
        _alias alias
        _scalar scalar
        _sequence_start sequence_start
        _mapping_start mapping_start
    ctypedef struct yaml_event_t:
        yaml_event_type_t type
        _data data
        yaml_mark_t start_mark
        yaml_mark_t end_mark
    ctypedef struct yaml_parser_t:
        pass
    int yaml_parser_initialize(yaml_parser_t *parser)
    void yaml_parser_delete(yaml_parser_t *parser)
    void yaml_parser_set_input_string(
        yaml_parser_t *parser, const unsigned char *text, size_t size
    )
    int yaml_parser_parse(yaml_parser_t *parser, yaml_event_t *event)
    void yaml_event_delete(yaml_event_t *event)
    void yaml_get_version(int *major, int *minor, int *patch)


def flat_events(str text not None, Py_ssize_t most, Py_ssize_t deepest):
    cdef yaml_parser_t parser
    cdef yaml_event_t event
    cdef bytes encoded = text.encode()
    cdef bytearray kinds = bytearray()
    cdef list marks = []
    cdef list words = []
    cdef dict properties = {}
    cdef Py_ssize_t depth = 0
    cdef bint more = True
    if not yaml_parser_initialize(&parser):
        raise MemoryError
    try:
        yaml_parser_set_input_string(&parser, encoded, len(encoded))
        while more:
            if len(kinds) > most or depth > deepest or not yaml_parser_parse(&parser, &event):
                return None
            try:
                more = event.type != YAML_STREAM_END_EVENT
                depth += _take(&event, kinds, marks, words, properties)
            finally:
                yaml_event_delete(&event)
            if len(kinds) & 4095 == 4095:
                PyErr_CheckSignals()
    finally:
        yaml_parser_delete(&parser)
    return bytes(kinds), marks, words, properties


cdef int _take(
    yaml_event_t *event, bytearray kinds, list marks, list words, dict properties
) except -2:
    """Add an event to the lists. Returns how much deeper it leads: 1, 0 or -1."""
    cdef Py_ssize_t number = len(kinds)
    cdef int deeper = 0
    cdef char kind
    if event.type == YAML_SCALAR_EVENT:
        if event.data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE:
            kind = b"'"
        elif event.data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE:
            kind = b'"'
        elif event.data.scalar.style == YAML_LITERAL_SCALAR_STYLE:
            kind = b"|"
        elif event.data.scalar.style == YAML_FOLDED_SCALAR_STYLE:
            kind = b">"
        else:
            kind = b"-"
        words.append(PyUnicode_DecodeUTF8(
            <char *>event.data.scalar.value, event.data.scalar.length, NULL
        ))
        marks.append(event.start_mark.index)
        marks.append(event.end_mark.index)
        _keep(properties, number, event.data.scalar.anchor, event.data.scalar.tag)
    elif event.type == YAML_MAPPING_START_EVENT:
        deeper = 1
        kind = b"{" if event.data.mapping_start.style == YAML_FLOW_MAPPING_STYLE else b"m"
        marks.append(event.start_mark.index)
        _keep(properties, number, event.data.mapping_start.anchor, event.data.mapping_start.tag)
    elif event.type == YAML_SEQUENCE_START_EVENT:
        deeper = 1
        kind = b"[" if event.data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE else b"s"
        marks.append(event.start_mark.index)
        _keep(properties, number, event.data.sequence_start.anchor, event.data.sequence_start.tag)
    elif event.type == YAML_MAPPING_END_EVENT or event.type == YAML_SEQUENCE_END_EVENT:
        deeper = -1
        kind = b"}" if event.type == YAML_MAPPING_END_EVENT else b"]"
        marks.append(event.end_mark.index)
    elif event.type == YAML_ALIAS_EVENT:
        kind = b"*"
        words.append(_word(event.data.alias.anchor))
        marks.append(event.start_mark.index)
        marks.append(event.end_mark.index)
    else:  # of the stream and the documents
        return 0
    kinds.append(kind)
    return deeper


cdef int _keep(
    dict properties, Py_ssize_t number, yaml_char_t *anchor, yaml_char_t *tag
) except -1:
    if anchor != NULL or tag != NULL:
        properties[number] = _word(anchor), _word(tag)
    return 0


cdef _word(yaml_char_t *text):
    if text == NULL:
        return None
    return PyUnicode_DecodeUTF8(<char *>text, strlen(<char *>text), NULL)


cdef int _major = 0, _minor = 0, _patch = 0
yaml_get_version(&_major, &_minor, &_patch)
if (_major, _minor, _patch) < (0, 2, 5):
    # PyYAML 6 brings 0.2.5 or later: until then `[a?b]` and others were read otherwise.
    raise ImportError(f"libyaml {_major}.{_minor}.{_patch} is older than 0.2.5")
