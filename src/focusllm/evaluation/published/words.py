"""F1 over words or characters, as LongBench and InfiniteBench compute it after SQuAD; Chinese words by jieba."""

import logging
import re
import string
from collections import Counter
from collections.abc import Sequence

from focusllm.errors import MissingDependencyError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CHINESE_PUNCTUATION = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃"  # noqa: RUF001
    "》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."  # noqa: RUF001
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_CHINESE_PUNCTUATION = str.maketrans("", "", string.punctuation + _CHINESE_PUNCTUATION)


def f1_of_words(output: str, answer: str) -> float:
    """Return the F1 of the words: lower case, without ASCII punctuation and articles."""
    return _f1(_words(output), _words(answer))


def f1_of_chinese_words(output: str, answer: str) -> float:
    """Return the F1 of the words that jieba finds; LongBench's rule.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    found = ([plain for word in chinese_words(text) if (plain := _plain(word))] for text in (output, answer))
    return _f1(*found)


def f1_of_characters(output: str, answer: str) -> float:
    """Return the F1 of the characters; InfiniteBench's rule for Chinese."""
    return _f1(_plain(output), _plain(answer))


def chinese_words(text: str) -> list[str]:
    """Cut a Chinese text into words.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    try:
        import jieba
    except ImportError as error:
        raise MissingDependencyError("Chinese subsets need jieba: pip install 'focusllm[eval]'.") from error
    # It reports how it loads its dictionary.
    jieba.setLogLevel(logging.WARNING)
    return list(jieba.cut(text))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _plain(text: str) -> str:
    return "".join(text.lower().translate(_NO_CHINESE_PUNCTUATION).split())


def _f1(output: Sequence[str], answer: Sequence[str]) -> float:
    num_same = (Counter(output) & Counter(answer)).total()
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(output), num_same / len(answer)
    return 2 * precision * recall / (precision + recall)
