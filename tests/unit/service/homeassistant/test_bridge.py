from dataclasses import replace

from tests.support.discovery import BARE_FACTS, FACTS, make_bridge


def test_bridge_without_gpu_and_models_has_neither() -> None:
    keys = make_bridge(BARE_FACTS).components.keys()
    assert not any(key.startswith("gpu_") for key in keys)
    assert not {"model", "update"} & keys
    assert {"connectivity", "problem", "model_state", "processing", "queue_critical"} <= keys


def test_bridge_has_four_figures_of_each_gpu() -> None:
    components = make_bridge(FACTS).components
    assert [key for key in components if key.startswith("gpu_")] == [
        f"gpu_{number}_{figure}"
        for number in (0, 1)
        for figure in ("load", "memory", "temperature", "power")
    ]
    assert components["gpu_1_load"]["name"] == "GPU 1 load"
    only = make_bridge(replace(FACTS, gpus=("one",))).components
    assert only["gpu_0_load"]["name"] == "GPU load"


def test_update_is_there_only_when_it_is_looked_for() -> None:
    assert "update" in make_bridge(FACTS).components
    assert "update" not in make_bridge(replace(FACTS, check_updates=False)).components


def test_connectivity_alone_does_not_go_away_with_the_service() -> None:
    components = make_bridge(FACTS).components
    assert [key for key, each in components.items() if "avty_t" not in each] == ["connectivity"]


def test_models_that_no_state_could_name_are_no_options() -> None:
    models = ("a", "x" * 256, "a", *(f"m{number}" for number in range(1000)))
    options = make_bridge(replace(FACTS, models=models)).components["model"]["ops"]
    assert isinstance(options, list)
    assert options[:2] == ["a", "m0"]
    assert len(options) == 100


def test_bridge_of_another_base_says_which() -> None:
    assert make_bridge().about["name"] == "moondream2mqtt"
    assert make_bridge(base="garage").about["name"] == "moondream2mqtt (garage)"
