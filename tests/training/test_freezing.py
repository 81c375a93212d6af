"""Word embeddings of which some rows are trained: what moves, what stays, and what is saved."""

import torch

from optical_mteb.training.freezing import PartlyTrainedEmbedding, keep_whole_words, train_used_words


def test_only_used_rows_move(tiny_model):
    """Guards against rows of unused tokens that move, and a saved student that lost what was learnt."""
    model = tiny_model(seed=1)
    before = model.transformers_model.get_input_embeddings().weight.clone()
    texts = ["abc", "cab"]
    untouched = model.encode(["xyz abc"], convert_to_tensor=True)
    used = set(model.tokenizer(texts[0])["input_ids"]) | set(model.tokenizer(texts[1])["input_ids"])
    assert train_used_words(model, texts) == len(used)
    torch.testing.assert_close(model.encode(["xyz abc"], convert_to_tensor=True), untouched)
    layer = model.transformers_model.get_input_embeddings()
    assert isinstance(layer, PartlyTrainedEmbedding)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    assert [tuple(parameter.shape) for parameter in trained] == [(len(used) + 1, 32)]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    model(model.preprocess(["abc xyz"]))["sentence_embedding"][:, 0].sum().backward()
    optimizer.step()
    moved = model.encode(["xyz abc"], convert_to_tensor=True)
    keep_whole_words(model)
    layer = model.transformers_model.get_input_embeddings()
    assert type(layer) is torch.nn.Embedding
    torch.testing.assert_close(model.encode(["xyz abc"], convert_to_tensor=True), moved)
    changed = (layer.weight != before).any(1).nonzero().flatten().tolist()
    assert 3 <= len(changed) <= len(used)
    assert set(changed) <= used
