import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer

from service.cli import COMMANDS, build, main
from service.errors import ConfigurationError, EngineError, ServiceError


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_command_names_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not explained"
        assert parameter.opts[-1] in shown or parameter.metavar in shown
    assert "--config" in shown


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_h_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert main([*words, "-h"]) == 0
    assert capsys.readouterr().out == shown
    assert "-h, --help" in shown


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "moondream2mqtt pub", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "moondream2mqtt pub"}),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "moondream2mqtt pub",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
        ),
    ],
)
def test_shell_gets_its_script_and_its_answers(shell: str, words: dict[str, str]) -> None:
    def asked(instruction: str) -> str:
        variables = {"_MOONDREAM2MQTT_COMPLETE": f"{instruction}_{shell}", **words}
        return subprocess.run(
            [sys.executable, "-m", "service"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
        ).stdout

    assert f"_MOONDREAM2MQTT_COMPLETE=complete_{shell}" in asked("source")
    assert "publish" in asked("complete")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("moondream2mqtt 0.")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["watch", "--nonsense"],
        ["publish"],
        ["publish", "missing.jpg"],
        ["publish", __file__, "--camera", "a/b"],
        ["publish", __file__, "--intensity", "2"],
        ["infer", "missing.jpg"],
        ["watch", "--config", "missing.yaml"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_on_stderr_and_exits_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("moondream2mqtt: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError("broken"), 1),
        (ConfigurationError("mqtt.port: bad"), 2),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("tasks", [ExceptionGroup("", [EngineError("x", "broken")])]), 1),
        (ExceptionGroup("tasks", [ConfigurationError("mqtt.port: bad")]), 2),
    ],
)
def test_error_of_command_becomes_exit_code(error: BaseException, code: int) -> None:
    assert main(["fail"], make_app=_app_that_raises(error)) == code


def test_error_holds_nothing_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """Some come from a broker, or from whoever may write there."""
    main(["fail"], make_app=_app_that_raises(ServiceError("not_found: \x1b[2Ja\nb")))
    assert capsys.readouterr().err == "moondream2mqtt: not_found:  [2Ja b\n"


def test_bug_in_command_is_not_hidden() -> None:
    error = ExceptionGroup("tasks", [ServiceError("broken"), KeyError("a bug")])
    with pytest.raises(ExceptionGroup):
        main(["fail"], make_app=_app_that_raises(error))


def _app_that_raises(error: BaseException) -> Callable[[str | None], typer.Typer]:
    def run() -> None:
        raise error

    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # a group, so that the command has to be named
    app.command("fail")(run)
    return lambda chosen: app


def test_help_comes_at_once_and_without_torch() -> None:
    code = (
        "import sys; from service.cli import main; main(['--help']);"
        "sys.exit('torch' in sys.modules or 'sqlalchemy' in sys.modules)"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = os.times()
    # Processor time: on a busy machine the clock on the wall measures the neighbours.
    assert after.children_user - before.children_user < 0.5
    assert after.children_system - before.children_system < 0.5


def test_commands_never_load_torch() -> None:
    code = (
        f"import sys; from service.cli import build; [build(name) for name in {list(COMMANDS)}];"
        "sys.exit(bool({'torch', 'transformers', 'moondream2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
