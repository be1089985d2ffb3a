"""Image, flags of `docker run`, command: which word is what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.run_arguments import RunWords, WrongWords, image_of, read_words

IMAGE = "docker:nginx:1.27"
_word = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
_flag = st.one_of(
    st.tuples(st.sampled_from(["--read-only", "-i", "-t", "-it", "--tty", "--init=false"])),
    st.tuples(st.sampled_from(["-v", "--env", "-p", "-itp", "--memory", "--entrypoint"]), _word),
    st.tuples(st.sampled_from(["--env", "-e", "--entrypoint"]), st.sampled_from(["-d", "--", "-"])),
    _word.map(lambda word: (f"--label={word}",)),
    _word.map(lambda word: (f"-e{word}",)),
)


def test_an_image_alone() -> None:
    assert read_words([IMAGE]) == RunWords(IMAGE)


@given(st.lists(_flag), st.one_of(st.none(), st.lists(st.one_of(_word, st.just("--")))))
def test_flags_and_command_come_out_as_they_were_written(
    written: list[tuple[str, ...]], command: list[str] | None
) -> None:
    flags = [word for flag in written for word in flag]
    found = read_words([IMAGE, *flags, *([] if command is None else ["--", *command])])
    assert found.flags == tuple(flags)
    assert found.command == tuple(command or ())


@pytest.mark.parametrize("words", [["sh"], ["-it", "sh"], ["-e", "A=b", "sh", "-c"], ["--rm", "-"]])
def test_a_command_without_the_dashes_is_not_taken_for_a_flag(words: list[str]) -> None:
    with pytest.raises(WrongWords, match="write -- before the command"):
        read_words([IMAGE, *words])


@pytest.mark.parametrize("flag", ["-d", "--detach", "--detach=true", "-itd", "-dit", "-d=1"])
def test_the_background_is_refused(flag: str) -> None:
    with pytest.raises(WrongWords, match="foreground"):
        read_words([IMAGE, flag])


@pytest.mark.parametrize("flags", [["-e", "-d"], ["--env", "--detach"], ["-ed"]])
def test_what_only_looks_like_it_is_not(flags: list[str]) -> None:
    assert read_words([IMAGE, *flags]).flags == tuple(flags)


@pytest.mark.parametrize("flags", [["--restart", "always"], ["--restart=on-failure:3"]])
def test_restarting_is_the_nucleuss_affair(flags: list[str]) -> None:
    with pytest.raises(WrongWords, match="--restart"):
        read_words([IMAGE, *flags])
    assert read_words([IMAGE, "--restart", "no"]).flags == ("--restart", "no")


@pytest.mark.parametrize("flag", ["--detach=false", "--sig-proxy=false", "--detach-keys=ctrl-a"])
def test_what_docker_create_does_not_know_is_left_out(flag: str) -> None:
    assert read_words([IMAGE, "-i", flag, "-t"]).flags == ("-i", "-t")


def test_a_name_among_the_flags_is_the_name() -> None:
    found = read_words([IMAGE, "-i", "--name", "one", "-e", "A", "--name=one"])
    assert (found.name, found.flags) == ("one", ("-i", "-e", "A"))
    assert read_words([IMAGE], "one").name == "one"
    assert read_words([IMAGE, "--name=one"], "one").name == "one"
    with pytest.raises(WrongWords, match="one and two"):
        read_words([IMAGE, "--name=one"], "two")


@pytest.mark.parametrize("before", [["/a:/b"], ["A=1", "--rm"]])
def test_an_image_after_its_flags_is_named(before: list[str]) -> None:
    with pytest.raises(WrongWords, match=f"write {IMAGE} first"):
        image_of([*before, IMAGE, "ls"])


@pytest.mark.parametrize("words", [[IMAGE, "-v", "docker:/x"], ["nginx:1.27"], ["nginx", "ls"]])
def test_otherwise_the_first_word_is_the_image(words: list[str]) -> None:
    assert image_of(words) == words[0]


def test_what_else_is_looked_at() -> None:
    found = read_words([IMAGE, "--platform", "linux/arm64", "--net=a", "--network", "b"])
    assert (found.platform, found.networks, found.kept) == ("linux/arm64", ("a", "b"), False)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [([], False), (["--rm"], False), (["--rm=false"], True), (["--rm=false", "--rm"], False)],
)
def test_a_container_is_kept_only_when_asked_for(flags: list[str], kept: bool) -> None:
    assert read_words([IMAGE, *flags]).kept is kept
