"""What the worker of a foreign server gets beside others: the variables that its table names."""

from quintet.core.models import Model
from quintet.runtime.process import granted_names, worker_environment
from quintet.runtime.quarantine import Quarantine
from quintet.runtime.supervisor import Patience, Supervisor

ENVIRON = {"PATH": "/bin", "THEIR_KEY": "sk-1", "HF_TOKEN": "hf-1", "HF_HUB_OFFLINE": "0", "QUINTET_X": "1"}


def model(engine="upstream", **options):
    return Model(name="m", task="text", engine=engine, options=options)


def test_only_named_variables_pass():
    named = model(api_key_env="THEIR_KEY", environment="HF_HUB_OFFLINE, MISSING,QUINTET_X")
    passed = worker_environment(ENVIRON, granted_names(named))
    assert (passed["THEIR_KEY"], passed["HF_HUB_OFFLINE"]) == ("sk-1", "0")
    assert not {"HF_TOKEN", "MISSING", "QUINTET_X"} & set(passed)
    assert worker_environment(ENVIRON, granted_names(model(url="http://h/v1"))) == worker_environment(ENVIRON)


def test_other_engines_get_nothing_more():
    assert granted_names(model("text", api_key_env="THEIR_KEY", environment="HF_TOKEN")) == set()


def test_a_foreign_server_may_take_longer_to_start():
    def load_seconds(**fields):
        return Supervisor(model(**fields), "x:y", Patience(), Quarantine())._load_seconds()

    usual = Patience().load_seconds
    assert (
        load_seconds()
        == load_seconds(start_seconds=10)
        == load_seconds(engine="text", start_seconds=900)
        == usual
    )
    assert load_seconds(start_seconds=900) > 900
