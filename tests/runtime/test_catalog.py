from pathlib import Path

import pytest

from quintet.core.errors import ModelNotFound
from quintet.runtime.catalog import CatalogError, read_catalog


def write(folder, text, name="mine.toml"):
    (folder / name).write_text(text)
    return folder


def test_shipped_models():
    catalog = read_catalog()
    chat = catalog.find("starter-chat")
    assert chat.task == "text"
    assert (chat.context_length, chat.default_new_tokens, chat.licence) == (1024, 256, "Apache-2.0")
    assert Path(chat.path).is_absolute()
    assert Path(chat.path).parts[-2:] == ("starter_models", "chat")
    with pytest.raises(ModelNotFound):
        catalog.find("echo")
    with_echo = read_catalog(with_echo=True)
    assert {model.task for model in with_echo.models if model.engine == "echo"} == {
        "text", "vision", "image", "animation", "speech",
    }  # fmt: skip
    assert not any(model.options for model in with_echo.models), "no fault switches by default"


def test_own_models(tmp_path):
    write(
        tmp_path,
        '[mine]\ntask = "text"\nengine = "text"\npath = "weights"\naliases = ["phi3"]\n'
        '[mine.options]\ndevice = "CPU"\nthreads = 4\n["vendor/big.model"]\ntask = "vision"\nengine = "text"\n',
    )
    catalog = read_catalog([tmp_path], aliases={"llava": "vendor/big.model", "default": "mine"})
    assert catalog.find("phi3") is catalog.find("mine") is catalog.find("default")
    assert catalog.find("mine").path == str(tmp_path / "weights")
    assert catalog.find("mine").options == {"device": "CPU", "threads": 4}
    assert catalog.find("llava").name == "vendor/big.model"
    assert [model.name for model in catalog.for_tasks(["vision"])] == ["vendor/big.model"]


def test_a_later_folder_replaces(tmp_path):
    write(
        tmp_path, '[starter-chat]\ntask = "text"\nengine = "text"\npath = "/elsewhere"\ncontext_length = 99\n'
    )
    catalog = read_catalog([tmp_path])
    assert catalog.find("starter-chat").context_length == 99
    assert catalog.find("starter-chat").path == "/elsewhere"


GOOD = 'task = "text"\nengine = "text"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[m]\n{GOOD}contxt_length = 5\n", 'unknown key "contxt_length"; did you mean "context_length"?'),
        (f'[m]\n{GOOD}context_length = "5"\n', 'key "context_length"'),
        (f"[m]\n{GOOD}context_length = 0\n", 'key "context_length" must be at least 1'),
        (f"[m]\n{GOOD}context_length = 10\nmax_input_tokens = 10\n", 'key "max_input_tokens"'),
        ('[m]\nengine = "text"\n', 'key "task" is missing'),
        ('[m]\ntask = "txt"\nengine = "text"\n', 'key "task" must be one of text, vision'),
        ('[m]\ntask = "text"\nengine = "os.system"\n', 'key "engine"'),
        (f"[m]\n{GOOD}[m.options]\ndeep = [1]\n", 'key "options'),
        (f'["../m"]\n{GOOD}', "a name is made of"),
        (f'[m]\n{GOOD}aliases = [" "]\n', 'key "aliases"'),
        ("task = 1\n", 'key "task" stands outside'),
        ("[m\n", "not valid TOML"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path, text, said):
    with pytest.raises(CatalogError) as mistake:
        read_catalog([write(tmp_path, text)])
    assert said in str(mistake.value)
    assert "mine.toml" in str(mistake.value)


def test_ambiguous_names(tmp_path):
    write(tmp_path, f"[m]\n{GOOD}", "a.toml")
    write(tmp_path, f"[m]\n{GOOD}", "b.toml")
    with pytest.raises(CatalogError, match="twice"):
        read_catalog([tmp_path])
    (tmp_path / "b.toml").write_text(f'[n]\n{GOOD}aliases = ["m"]\n')
    with pytest.raises(CatalogError, match="another model"):
        read_catalog([tmp_path])
    (tmp_path / "b.toml").unlink()
    with pytest.raises(CatalogError, match="there is no model"):
        read_catalog([tmp_path], aliases={"x": "nobody"})
