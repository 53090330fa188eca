"""Metrics of foreign servers beside ours: one valid text, whatever two servers have in common."""

from prometheus_client.parser import text_string_to_metric_families

from quintet.server.metrics import Metrics

ONE = """# HELP a_total Things.
# TYPE a_total counter
a_total{model="one"} 3
# HELP wait Seconds.
# TYPE wait histogram
wait_bucket{model="one",le="+Inf"} 2
wait_sum{model="one"} 1.5
wait_count{model="one"} 2
single{model="one"} 1
"""


def test_two_servers_share_one_text():
    body = Metrics(["one"]).render([ONE, ONE.replace("one", "two")]).body.decode()
    assert body.count("# TYPE a_total") == body.count("# TYPE wait ") == 1
    lines = body.splitlines()
    assert lines[lines.index('a_total{model="one"} 3') + 1] == 'a_total{model="two"} 3'
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert len(families["wait"].samples) == 6
    assert [sample.labels["model"] for sample in families["a"].samples] == ["one", "two"]
    assert lines[lines.index('single{model="one"} 1') + 1] == 'single{model="two"} 1'
