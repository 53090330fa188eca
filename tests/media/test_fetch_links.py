"""R-01, R-03, R-06, R-12, R-13, R-15: what the one parser takes, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.media.links import Link, LinkRefused, parse_link

TAKEN = {
    "http://pictures.example": Link("http", "pictures.example", 80, "/"),
    "HTTPS://Pictures.Example/A.png?b=C#top": Link("https", "pictures.example", 443, "/A.png?b=C"),
    "https://pictures.example:8443/a": Link("https", "pictures.example", 8443, "/a"),
    "http://pictures.example?size=2": Link("http", "pictures.example", 80, "/?size=2"),
    "http://a.example/%2e%2e/%0d%0aX:1": Link("http", "a.example", 80, "/%2e%2e/%0d%0aX:1"),
    "http://a.example/@b@c:d": Link("http", "a.example", 80, "/@b@c:d"),
    "http://93.184.216.34/x": Link("http", "93.184.216.34", 80, "/x"),
    "http://[2606:2800:0220:0001::1]:443/": Link("http", "2606:2800:220:1::1", 443, "/"),
    "http://xn--mnchen-3ya.example/": Link("http", "xn--mnchen-3ya.example", 80, "/"),
    "http://my_bucket.s3.example/": Link("http", "my_bucket.s3.example", 80, "/"),
    "http://1.1.1.1#@2.2.2.2": Link("http", "1.1.1.1", 80, "/"),
    "http://1.1.1.1?@2.2.2.2": Link("http", "1.1.1.1", 80, "/?@2.2.2.2"),
    "http://1.1.1.1/#@2.2.2.2/": Link("http", "1.1.1.1", 80, "/"),
}
REFUSED = {
    "R-01": (
        *("http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://017700000001/", "http://0/"),
        *(
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.01/",
            "http://0x/",
            "http://1.2.3.4.5/",
        ),
        *("http://127.0.0.256/", "http://1.2.3/", "http://host.0x1f/", "http://host.99/"),
    ),
    "R-03": (
        *("file:///etc/passwd", "ftp://a.example/x", "gopher://a.example/_x", "data:image/png;base64,AAAA"),
        *("dict://a.example:11211/", "jar:http://a.example!/x", "unix:/var/run/docker.sock", "javascript:1"),
        *("//a.example/x", "a.example/x", "", "http:", "http:/a.example", "http:a.example", "http:///x"),
        *("httpx://a.example", "http+unix://a", "view-source:http://a.example", "://a.example"),
    ),
    "R-04": ("http://[::1", "http://::1/", "http://[::g]/", "http://[1::2::3]/", "http://[127.0.0.1]/"),
    "R-05": ("http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/"),
    "R-12": (
        *("http://127.0.0.1:6666\\@1.1.1.1", "http:\\\\a.example", "http://a.example\\b", "http://a@b@c"),
        *("http://a\t.example", "http://a.example/\r\nX: 1", "http://a.example /", " http://a.example"),
        *(
            "http://a.example\0",
            "http://a.example\n",
            "http://\u2460\u2461\u2466.0.0.1/",
            "http://m\u00fcnchen.de/",
        ),
        *(
            "http://a.example\uff0fb",
            "http://a\u3002example/",
            "http://a\u00ad.example/",
            "http://%61.example/",
        ),
        *("http://127%2e0%2e0%2e1/", "http://a.example./", "http://a..example/", "http://.a.example/"),
        *(
            "http://-a.example/",
            "http://a-.example/",
            "http://a!b.example/",
            "http://a,b/",
            "http://a.example;b/",
        ),
        *("http://a.example:/", "http://a.example:0/", "http://a.example:080/", "http://a.example:99999/"),
        *(
            "http://a.example:8o/",
            "http://a.example:80:80/",
            "http://[::1]x/",
            "http://a[::1]/",
            "http://[]/",
        ),
        *("http://" + "a" * 64 + ".example/", "http://" + "a." * 127 + "example/", "http://a.example/\x7f"),
        *("http://a.example/" + "x" * 10_240, "http://a.example/\ud800", "http://a.example/\u2028"),
    ),
    "R-13": (
        "http://user:pass@a.example/",
        "http://user@a.example/",
        "http://@a.example/",
        "http://:@a.example",
    ),
    "R-15": ("http://a.example/\r\nHost: b", "http://a.example/ HTTP/1.1", "http://a.example/\n\n"),
}
CASES = [
    pytest.param(url, id=f"{rule}-{number}")
    for rule, urls in REFUSED.items()
    for number, url in enumerate(urls)
]


@pytest.mark.parametrize("url", TAKEN)
def test_parts_of_plain_links(url):
    assert parse_link(url) == TAKEN[url]


@pytest.mark.parametrize("url", CASES)
def test_what_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(LinkRefused) as refusal:
        parse_link(url)
    assert str(refusal.value).endswith(".")
    assert url not in str(refusal.value) or len(url) < 6, "no echo of what was sent"


@pytest.mark.parametrize(
    ("host", "is_inside"),
    [
        *(
            (host, True)
            for host in ("localhost", "a.localhost", "redis", "metadata.google.internal", "nas.lan")
        ),
        *((host, True) for host in ("printer.local", "x.home.arpa", "1.0.0.127.in-addr.arpa", "x.onion")),
        *(
            (host, False)
            for host in ("localhost.example", "127.0.0.1.nip.example", "93.184.216.34", "internal.org")
        ),
    ],
)
def test_r06_names_of_the_inside(host, is_inside):
    assert parse_link(f"http://{host}/").is_inside_name is is_inside


@pytest.mark.parametrize(
    ("location", "goal"),
    [
        ("/b", Link("https", "a.example", 443, "/b")),
        ("b.png?x=1#y", Link("https", "a.example", 443, "/dir/b.png?x=1")),
        ("../b", Link("https", "a.example", 443, "/b")),
        ("?x", Link("https", "a.example", 443, "/dir/file?x")),
        ("//b.example/c", Link("https", "b.example", 443, "/c")),
        ("https://b.example:8443", Link("https", "b.example", 8443, "/")),
        *(
            (text, None)
            for text in ("http://b.example/", "ftp://b.example/", "javascript:alert(1)", "data:,x")
        ),
        *((text, None) for text in ("//user@b.example/", "///b.example/", "/\\b.example", "\\\\b.example/")),
        *(
            (text, None)
            for text in ("//127.1/", "/a b", "/\u00e9", "/" + "x" * 3000, "https:b.example", "//")
        ),
        *((text, None) for text in (".//b.example/", "..//b.example", "/.//b.example")),
    ],
)
def test_r07_where_a_redirect_leads(location, goal):
    start = parse_link("https://a.example/dir/file?q")
    if goal is None:
        try:
            link = start.follow(location)
        except LinkRefused:
            return
        assert (link.host, link.port) == (start.host, start.port), "a path never names another host"
        assert link.target.startswith("/")
        assert not link.target.startswith("//")
    else:
        assert start.follow(location) == goal


def test_r13_a_link_with_a_password_is_told_so_without_it():
    with pytest.raises(LinkRefused, match="password") as refusal:
        parse_link("http://user:hunter2@a.example/")
    assert "hunter2" not in str(refusal.value)


def test_a_redirect_may_lead_from_http_to_https():
    assert parse_link("http://a.example/").follow("https://a.example/").port == 443


@given(st.text(st.characters(exclude_categories=()), max_size=30), st.text("/[]:.?#@a\\", max_size=12))
def test_any_location_leads_to_a_plain_link_or_is_refused(text, odd):
    for target in ("/dir/file?q", "//[b/c", "//b.example/c"):
        start = Link("http", "a.example", 80, target)
        for location in (text, odd, odd + text):
            try:
                link = start.follow(location)
            except LinkRefused:
                continue
            assert parse_link(f"{link.scheme}://{link.authority}{link.target}") == link
            if not location.startswith("//") and ":" not in location:
                assert link.host == "a.example"


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_a_plain_link_or_refused(text):
    for url in (text, f"http://{text}", f"https://a.example{text}"):
        try:
            link = parse_link(url)
        except LinkRefused:
            continue
        assert link.target.startswith("/")
        assert (link.authority + link.target).isascii()
        assert not set(link.host) & set("@/\\?#%[] \r\n\t\0")
        again = parse_link(f"{link.scheme}://{link.authority}{link.target}")
        assert again == link, "what was read is what would be read again"
