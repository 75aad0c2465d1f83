"""The architectures that can be wrapped, and where their attention keeps its projections: data, one row a family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from torch import nn

from focusllm.errors import ConfigurationError

_SEPARATE = MappingProxyType({"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"})
_WITH_OUT_PROJ = MappingProxyType({**_SEPARATE, "o": "out_proj"})
_QUERY_KEY_VALUE = MappingProxyType({"qkv": "query_key_value", "o": "dense"})
# Compressed keys and values (MLA). What they are expanded by is applied to whatever the cache holds: it is no place
# for what only candidates have.
_COMPRESSED = MappingProxyType({"q": "q_b_proj/q_proj", "kv": "kv_a_proj_with_mqa", "o": "o_proj"})


def _all_layers(config: Any, layer: int) -> bool:
    return True


def _where_rope_is_set(config: Any, layer: int) -> bool:
    return bool(config.no_rope_layers[layer])


def _sliding_layers(config: Any, layer: int) -> bool:
    return config.sliding_window is None or config.layer_types[layer] == "sliding_attention"


@dataclass(frozen=True)
class AttentionFamily:
    """Where one architecture keeps what the method needs.

    Attributes:
        model_type: The name transformers knows the architecture by.
        projections: Role to the attribute of the attention module that holds the projection, or several with strokes
            between them, of which a module has one. Roles are q, k, v and o; where one projection makes several of
            them, all their letters.
        attention: Attribute of a layer, dots and all, that holds its attention module.
        layers: Attribute of the backbone, dots and all, that holds the layers.
        rotary: Attribute of the backbone that holds the rotary embedding; ``None`` where there is none.
        rotary_table: Whether rotary angles come from a table in each attention module instead.
        has_positions: Whether a layer, by its number, turns its keys to their positions.
        pairs_neighbors: Whether rotary positions pair a dimension with the next one, not with the one half-way on.
        rotates_values: Whether it is the second of the two tensors a cache holds that has positions: where keys and
            values are kept compressed (MLA), that is the part of the key which all heads share.
        sight: Attribute of an attention module that holds what each position sees of each other, where layers with
            sliding windows keep that to themselves and heed no mask that shows more.
        uses_interface: Whether attention goes through transformers' attention interface.
        forwards_options: Whether what the base is called with reaches that attention; the packed training pass and
            the recording of attention need it.
        note: What a user should know, shown by ``focusllm models``.
    """

    model_type: str
    projections: Mapping[str, str] = field(default_factory=lambda: _SEPARATE)
    attention: str = "self_attn"
    layers: str = "layers"
    rotary: str | None = "rotary_emb"
    rotary_table: bool = False
    has_positions: Callable[[Any, int], bool] = _all_layers
    pairs_neighbors: bool = False
    rotates_values: bool = False
    sight: str | None = None
    uses_interface: bool = True
    forwards_options: bool = True
    note: str = ""

    @property
    def is_trainable(self) -> bool:
        """Whether adapters can be trained."""
        return self.forwards_options

    def roles_of(self, wanted: Sequence[str]) -> list[str]:
        """Return the roles that the wanted ones (q, k, v, o) are here.

        Raises:
            ConfigurationError: Only some of the wanted ones are made by a projection that makes others, too.
        """
        found = []
        for role in self.projections:
            missing = [letter for letter in role if letter not in wanted]
            if missing and len(missing) < len(role):
                raise ConfigurationError(
                    f"A {self.model_type} makes {', '.join(role)} by one projection: `candidate_projections` must have "
                    f"all of {', '.join(map(repr, role))}, or none; got {tuple(wanted)}."
                )
            if not missing:
                found.append(role)
        return found

    def roles_in(self, attention: nn.Module, wanted: Sequence[str]) -> list[str]:
        """Return the roles that the wanted ones are in one layer.

        Some layers of Gemma 4 have no projection for values: they are what the one for keys makes.

        Raises:
            ConfigurationError: See :meth:`roles_of`.
        """
        return [role for role in self.roles_of(wanted) if self.projection_of(attention, role) is not None]

    def attribute_of(self, attention: nn.Module, role: str) -> str:
        """Return the attribute of an attention module that holds the projection of a role."""
        names = self.projections[role].split("/")
        return next((name for name in names if getattr(attention, name, None) is not None), names[0])

    def projection_of(self, attention: nn.Module, role: str) -> Any:
        """Return the projection of a role, as it stands in an attention module."""
        return getattr(attention, self.attribute_of(attention, role))


_GPT2 = AttentionFamily(
    "gpt2",
    projections=MappingProxyType({"qkv": "c_attn", "o": "c_proj"}),
    attention="attn",
    layers="h",
    rotary=None,
    note="absolute positions",
)
_BLOOM = AttentionFamily(
    "bloom",
    projections=_QUERY_KEY_VALUE,
    attention="self_attention",
    layers="h",
    rotary=None,
    uses_interface=False,
    forwards_options=False,
    note="ALiBi",
)
_GPTJ = AttentionFamily(
    "gptj",
    projections=_WITH_OUT_PROJ,
    attention="attn",
    layers="h",
    rotary=None,
    rotary_table=True,
    pairs_neighbors=True,
    uses_interface=False,
    forwards_options=False,
    note="partly rotary positions",
)
_DEEPSEEK = AttentionFamily(
    "deepseek_v3",
    projections=_COMPRESSED,
    rotates_values=True,
    forwards_options=False,
    note="compressed keys and values (MLA); mixture of experts",
)
_SLIDING = "sliding windows, in which candidates stay visible"
_ROWS = (
    AttentionFamily("apertus", note="normalized queries and keys"),
    AttentionFamily("arcee"),
    AttentionFamily("biogpt", projections=_WITH_OUT_PROJ, rotary=None, note="absolute positions"),
    AttentionFamily("bitnet"),
    _BLOOM,
    replace(_GPTJ, model_type="codegen", projections=MappingProxyType({"qkv": "qkv_proj", "o": "out_proj"})),
    AttentionFamily("cohere", pairs_neighbors=True),
    AttentionFamily("cohere2", pairs_neighbors=True, has_positions=_sliding_layers, note=_SLIDING),
    AttentionFamily("cwm", note=_SLIDING),
    replace(_DEEPSEEK, model_type="deepseek_v2", pairs_neighbors=True),
    _DEEPSEEK,
    AttentionFamily("dots1", note="mixture of experts"),
    AttentionFamily("ernie4_5", pairs_neighbors=True),
    AttentionFamily("ernie4_5_moe", pairs_neighbors=True, note="mixture of experts"),
    AttentionFamily("exaone4", has_positions=_sliding_layers, note=_SLIDING),
    AttentionFamily("exaone_moe", has_positions=_sliding_layers, note=f"mixture of experts; {_SLIDING}"),
    replace(
        _BLOOM,
        model_type="falcon",
        rotary="rotary_emb",
        note="models without ALiBi",
    ),
    AttentionFamily("flex_olmo", note="mixture of experts"),
    AttentionFamily("gemma", note="wide heads"),
    AttentionFamily("gemma2", note=f"soft-capped scores; {_SLIDING}"),
    AttentionFamily("gemma3_text", note=f"positions by kind of layer; {_SLIDING}"),
    AttentionFamily("gemma4_text", note=f"positions by kind of layer; {_SLIDING}"),
    AttentionFamily("glm", pairs_neighbors=True, note="partly rotary positions"),
    AttentionFamily("glm4", pairs_neighbors=True, note="partly rotary positions"),
    AttentionFamily("glm4_moe", note="partly rotary positions; mixture of experts"),
    replace(_DEEPSEEK, model_type="glm4_moe_lite"),
    AttentionFamily("gpt_oss", note=f"attention sinks; mixture of experts; {_SLIDING}"),
    _GPT2,
    replace(_GPT2, model_type="gpt_bigcode", note="absolute positions; one head of keys and values (StarCoder)"),
    AttentionFamily(
        "gpt_neox",
        projections=_QUERY_KEY_VALUE,
        attention="attention",
        note="partly rotary positions (Pythia)",
    ),
    AttentionFamily(
        "gpt_neo",
        projections=_WITH_OUT_PROJ,
        attention="attn.attention",
        layers="h",
        rotary=None,
        sight="bias",
        uses_interface=False,
        forwards_options=False,
        note=f"absolute positions; {_SLIDING}",
    ),
    _GPTJ,
    AttentionFamily("granite"),
    AttentionFamily("granitemoe", note="mixture of experts"),
    AttentionFamily("granitemoeshared", note="mixture of experts"),
    AttentionFamily("helium", pairs_neighbors=True),
    AttentionFamily("hyperclovax"),
    AttentionFamily("internlm3"),
    AttentionFamily("jais2"),
    AttentionFamily("llama"),
    AttentionFamily("minimax_m2", note="partly rotary positions; mixture of experts"),
    AttentionFamily("ministral", note=_SLIDING),
    AttentionFamily("mistral", note=_SLIDING),
    AttentionFamily("mixtral", note=f"mixture of experts; {_SLIDING}"),
    replace(
        _BLOOM,
        model_type="mpt",
        projections=MappingProxyType({"qkv": "Wqkv", "o": "out_proj"}),
        attention="attn",
        layers="blocks",
    ),
    AttentionFamily("nemotron", forwards_options=False, note="partly rotary positions"),
    AttentionFamily("olmo"),
    AttentionFamily("olmo2", note="normalized queries and keys"),
    AttentionFamily("olmo3", note=f"normalized queries and keys; {_SLIDING}"),
    AttentionFamily("olmoe", note="mixture of experts"),
    AttentionFamily(
        "opt",
        projections=_WITH_OUT_PROJ,
        layers="decoder.layers",
        rotary=None,
        note="absolute positions",
    ),
    AttentionFamily(
        "persimmon",
        projections=_QUERY_KEY_VALUE,
        note="partly rotary positions; normalized queries and keys",
    ),
    AttentionFamily("phi", projections=MappingProxyType({**_SEPARATE, "o": "dense"}), note="partly rotary positions"),
    AttentionFamily("phi3", projections=MappingProxyType({"qkv": "qkv_proj", "o": "o_proj"}), note=_SLIDING),
    AttentionFamily("phimoe", note=f"mixture of experts; {_SLIDING}"),
    AttentionFamily("qwen2", note="projections with bias"),
    AttentionFamily("qwen2_moe", note="mixture of experts"),
    AttentionFamily("qwen3", note="normalized queries and keys"),
    AttentionFamily("qwen3_moe", note="normalized queries and keys; mixture of experts"),
    AttentionFamily("seed_oss"),
    AttentionFamily("smollm3", has_positions=_where_rope_is_set, note="some layers without positions"),
    AttentionFamily("solar_open", note="mixture of experts"),
    AttentionFamily("stablelm", forwards_options=False, note="partly rotary positions"),
    AttentionFamily("starcoder2", note=_SLIDING),
    AttentionFamily("vaultgemma", note=f"soft-capped scores; {_SLIDING}"),
)
_BY_TYPE = {family.model_type: family for family in _ROWS}
FAMILIES: Mapping[str, AttentionFamily] = MappingProxyType(_BY_TYPE)


@contextmanager
def trying(family: AttentionFamily) -> Iterator[None]:
    """Let a row be part of the table for the ``with`` block."""
    before = _BY_TYPE.get(family.model_type)
    _BY_TYPE[family.model_type] = family
    try:
        yield
    finally:
        if before is None:
            del _BY_TYPE[family.model_type]
        else:
            _BY_TYPE[family.model_type] = before


# Why others cannot be wrapped. What is neither here nor above has not been tried.
_REASONS = {
    "layers with a recurrent state, which cannot be handed on as keys and values of one token": """
        bailing_hybrid bamba falcon_h1 falcon_mamba granitemoehybrid jamba kimi_linear lfm2 lfm2_moe mamba mamba2
        minimax nemotron_h olmo_hybrid qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next recurrent_gemma
        rwkv xlstm zamba zamba2""",
    "an encoder-decoder, whose decoder reads what an encoder made of the whole text": """
        bart bigbird_pegasus blenderbot blenderbot-small led longt5 m2m_100 marian mbart mt5 mvp pegasus pegasus_x
        plbart prophetnet switch_transformers t5 umt5 whisper""",
    "an encoder, whose tokens see those behind them": """
        albert bert bert-generation big_bird camembert data2vec-text deberta deberta-v2 distilbert electra ernie
        megatron-bert modernbert rembert roberta roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl
        xmod""",
    "keeps no keys and values between calls": "openai-gpt reformer xlm xlnet",
    "some layers keep the keys and values of other layers, which candidates of their own would part": """
        gemma3n gemma3n_text""",
    "layers that see only the fixed block a token stands in, and candidates would stand in another": """
        llama4 llama4_text""",
    "attention that picks its tokens by an index of its own": "deepseek_v32 deepseek_v4 glm_moe_dsa",
}
REFUSED: Mapping[str, str] = MappingProxyType(
    {model_type: reason for reason, types in _REASONS.items() for model_type in types.split()}
)
