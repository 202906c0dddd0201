"""Templates that Home Assistant fills from our documents.

A topic that is cleared says nothing, and a value can be null: each template renders what Home
Assistant shows as unknown then, without a line in its log. Texts become part of a template only as
literals, whatever quotes and braces are in them.
"""

#: Binds `d` to the document, or to nothing.
_DOCUMENT = "{% set d = value_json if value_json is mapping else {} %}"
#: Binds `r` to the result in it, or to nothing.
_RESULT = _DOCUMENT + "{% set r = d.result if d.result is mapping else {} %}"


def of_document(expression: str) -> str:
    """A value made from the document `d`."""
    return f"{_DOCUMENT}{{{{ {expression} }}}}"


def of_result(expression: str) -> str:
    """A value made from the result `r` in the document `d`."""
    return f"{_RESULT}{{{{ {expression} }}}}"


def of_gpu(number: int, expression: str) -> str:
    """A value made from the readings `g` of one device."""
    found = f"d.get('gpus', []) | selectattr('id', 'eq', {number}) | first | default({{}})"
    return f"{_DOCUMENT}{{% set g = {found} %}}{{{{ {expression} }}}}"


def literal(text: str) -> str:
    """A text as a template's expression."""
    return ascii(text)


def percent(share: str) -> str:
    """An expression for a share in percent; `share` may be undefined or null."""
    return f"(({share}) * 100) | round(1) if {share} is number else None"


#: Home Assistant stores no attributes at all of an entity that has more than 16,384 bytes of them.
#: Less than that, because it adds a few of its own.
MAX_ATTRIBUTE_BYTES = 15_000

# ASCII JSON is never shorter than the UTF-8 in which attributes are stored. What is too long is
# rare: then every text is cut so far that no character, written as \u0001, can make it too long.
CAPTION_ATTRIBUTES = (
    _RESULT + "{% set ns = namespace(objects=[], labels=[], answers=[]) %}"
    "{% for o in r.get('objects', []) %}"
    "{% set ns.objects = ns.objects + [{'label': o.label, 'count': o.count}] %}"
    "{% set ns.labels = ns.labels + [{'label': o.label[:30], 'count': o.count}] %}"
    "{% endfor %}"
    "{% for a in r.get('answers', []) %}"
    "{% set ns.answers = ns.answers + [{'question': a.question[:60], 'answer': a.answer[:60],"
    " 'confidence': a.confidence}] %}"
    "{% endfor %}"
    "{% set m = r.get('model_info', {}) %}"
    "{% set head = dict(confidence=r.get('confidence'), priority=m.get('priority'),"
    " motion_intensity=m.get('motion_intensity'), job_id=d.get('job_id'),"
    " timestamp=d.get('timestamp'), taken_at=d.get('taken_at')) %}"
    "{% set whole = dict(head, caption=r.get('caption'), answers=r.get('answers', []),"
    " objects=ns.objects, location=d.get('location')) %}"
    "{% set cut = dict(head, caption=(r.get('caption') or '')[:1000], answers=ns.answers[:4],"
    " objects=ns.labels[:8], location=(d.get('location') or '')[:100]) %}"
    "{{ ((whole if (whole | to_json(ensure_ascii=true) | length) < "
    f"{MAX_ATTRIBUTE_BYTES} else cut) if r else {{}}) | to_json }}}}"
)

#: An event's payload; nothing, which fires nothing, where there is no result, or the one that fired
#: last: what the broker had forgotten is published again.
CAPTIONED_EVENT = (
    _RESULT + "{% set last = this.attributes.get('job_id') if this is defined else None %}"
    "{% if r and d.get('job_id') != last %}{{ dict(event_type='captioned', job_id=d.get('job_id'),"
    " caption=(r.get('caption') or '')[:1800], short_caption=(r.get('short_caption') or '')[:255],"
    " priority=r.get('model_info', {}).get('priority'), confidence=r.get('confidence'),"
    " timestamp=d.get('timestamp'), taken_at=d.get('taken_at'),"
    " location=(d.get('location') or '')[:256]) | to_json }}{% endif %}"
)

HEALTH_ATTRIBUTES = (
    _DOCUMENT + "{% set ns = namespace(found={'status': d.get('status')}) %}"
    "{% for name, check in d.get('checks', {}).items() %}"
    "{% set ns.found = dict(ns.found, **{name: check.status ~ ': ' ~ check.message[:200]}) %}"
    "{% endfor %}{{ (ns.found if d else {}) | to_json }}"
)

#: What a model does before it is ready, or why it failed; then how long a frame takes it.
MODEL_ATTRIBUTES = (
    _DOCUMENT + "{% set m = d.model if d.model is mapping else {} %}"
    "{{ (dict(message=(m.get('message') or '')[:500],"
    " seconds_per_frame=m.get('seconds_per_frame')) if m else {}) | to_json }}"
)

#: Home Assistant refuses a document with nulls or with anything else in it.
UPDATE = (
    _DOCUMENT + "{% set u = dict(installed_version=d.get('installed_version'),"
    " latest_version=d.get('latest_version'), release_url=d.get('release_url')) %}"
    "{{ dict(u.items() | rejectattr(1, 'none')) | to_json }}"
)
