"""Names of devices and entities in the languages that Home Assistant's people read."""

from typing import Literal

Language = Literal["en", "de"]

# By key: English, German. Entities' keys where it is an entity's name.
_WORDS: dict[str, tuple[str, str]] = {
    # Devices
    "camera": ("Camera", "Kamera"),
    "bridge": ("Bridge", "Bridge"),
    # Of a camera
    "caption": ("Caption", "Beschreibung"),
    "image": ("Last captioned frame", "Zuletzt beschriebenes Bild"),
    "captioned": ("New caption", "Neue Beschreibung"),
    "confidence": ("Confidence", "Sicherheit"),
    "processing_time": ("Processing time", "Rechenzeit"),
    "motion_intensity": ("Motion intensity", "Bewegungsstärke"),
    "priority": ("Priority", "Dringlichkeit"),
    "last_seen": ("Last seen", "Zuletzt gesehen"),
    "count": ("Count of {label}", "Anzahl {label}"),
    "prompt": ("Prompt", "Frage"),
    "location": ("Location", "Ort"),
    "length": ("Caption length", "Länge der Beschreibung"),
    "min_priority": ("Minimum priority", "Mindestdringlichkeit"),
    "enabled": ("Captions", "Beschreibungen"),
    "newest_wins": ("Newest frame wins", "Neuestes Bild zählt"),
    "publish_image": ("Publish frames", "Bilder veröffentlichen"),
    "cooldown": ("Cooldown", "Pause zwischen Bildern"),
    "min_intensity": ("Minimum motion intensity", "Mindestbewegung"),
    "describe": ("Describe now", "Jetzt beschreiben"),
    "forget": ("Forget camera", "Kamera vergessen"),
    # Of the bridge
    "connectivity": ("Connection", "Verbindung"),
    "problem": ("Problem", "Störung"),
    "model_state": ("Model state", "Zustand des Modells"),
    "model": ("Model", "Modell"),
    "queue_size": ("Waiting frames", "Wartende Bilder"),
    "queue_critical": ("Waiting frames, critical", "Wartende Bilder, kritisch"),
    "queue_high": ("Waiting frames, high", "Wartende Bilder, hoch"),
    "queue_normal": ("Waiting frames, normal", "Wartende Bilder, normal"),
    "queue_low": ("Waiting frames, low", "Wartende Bilder, niedrig"),
    "captions_per_minute": ("Captions per minute", "Beschreibungen je Minute"),
    "latency_p50": ("Latency, median", "Wartezeit, Median"),
    "latency_p95": ("Latency, 95th percentile", "Wartezeit, 95. Perzentil"),
    "gpu_load": ("{gpu} load", "{gpu} Auslastung"),
    "gpu_memory": ("{gpu} memory", "{gpu} Speicher"),
    "gpu_temperature": ("{gpu} temperature", "{gpu} Temperatur"),
    "gpu_power": ("{gpu} power", "{gpu} Leistung"),
    "processing": ("Processing", "Verarbeitung"),
    "clear_queue": ("Clear queue", "Warteschlange leeren"),
    "unload_model": ("Unload model", "Modell entladen"),
    "load_model": ("Load model", "Modell laden"),
    "version": ("Version", "Version"),
    "update": ("Update", "Aktualisierung"),
}


class Words:
    """Names in one language.

    Args:
        language: `en` or `de`.
    """

    def __init__(self, language: Language) -> None:
        self._column = ("en", "de").index(language)

    def name(self, key: str, **parts: str) -> str:
        """The name that belongs to a key.

        Args:
            key: Of an entity, or of a kind of them.
            parts: What stands in its places; taken as it is.

        Raises:
            KeyError: There is no such key.
        """
        return _WORDS[key][self._column].format(**parts)
