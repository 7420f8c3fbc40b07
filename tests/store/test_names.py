import re

import pytest

from scale_video.store.names import (
    check_name,
    check_relative_path,
    check_relative_paths,
    check_text,
    check_texts,
    is_name,
)


@pytest.mark.parametrize("name", ["random", "videomae-base", "vit_b.16", "3d", "1"])
def test_plain_folder_names_pass(name: str) -> None:
    assert is_name(name)
    check_name(name, what="backbone")


@pytest.mark.parametrize("name", ["", "A", "a/b", "../a", "..", ".a", "-a", "_a", "a b", "ä", "a\n", "a\\b"])
def test_what_could_leave_the_store_is_refused(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match=r"backbone .* must consist of a-z, 0-9, '.', '_' and '-', and begin with"):
        check_name(name, what="backbone")


@pytest.mark.parametrize("name", ["zarr.json", "valid"])
def test_names_of_the_format_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"backbone cannot be called '{name}', the format uses this name"):
        check_name(name, what="backbone", reserved=("valid",))


def test_text_without_utf8_is_refused() -> None:
    check_text("Läufe 视频", what="path")
    with pytest.raises(ValueError, match=r"path 'a\\udcff.mp4' is no valid Unicode; rename the file"):
        check_text("a\udcff.mp4", what="path")


PATHS = (
    *("a.mp4", "a/b.mp4", "ä b/视频.mp4", "a..b.mp4", "...", "a\nb.mp4", "a\n/b.mp4", "\n"),
    *("", "/a.mp4", "../a.mp4", "a/../b.mp4", "a\0.mp4", "a/..", "\n/"),
)


@pytest.mark.parametrize("others", [(), ("x.mp4",)])
@pytest.mark.parametrize("path", PATHS)
def test_many_paths_are_refused_where_one_alone_is(path: str, others: tuple[str, ...]) -> None:
    many = (*others, path, *others)
    try:
        check_relative_path(path)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            check_relative_paths(many)
    else:
        check_relative_paths(many)
    check_relative_paths(())


def test_many_texts_are_refused_where_one_alone_is() -> None:
    check_texts((), what="id")
    check_texts(("a", "视频"), what="id")
    for texts in (("a", "\udcff"), ("\ud83d", "\ude00")):  # halves of one letter don't make it one
        with pytest.raises(ValueError, match=r"id .* is no valid Unicode"):
            check_texts(texts, what="id")
