import torch

from scale_video.aggregate.projection_head import ProjectionHead


def test_layers_and_sphere():
    head = ProjectionHead(6, hidden_dim=10, output_dim=4, num_layers=3)
    assert [tuple(p.shape) for p in head.parameters()] == [(10, 6), (10, 10), (4, 10)]  # no biases
    inputs = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    a, b, c = head.parameters()
    gelu = torch.nn.functional.gelu
    expected = gelu(gelu(inputs @ a.T) @ b.T) @ c.T
    expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(head(inputs), expected)


def test_a_zero_vector_has_finite_output_and_gradient():
    head = ProjectionHead(6, hidden_dim=10, output_dim=4, num_layers=2)
    inputs = torch.zeros(1, 6, requires_grad=True)
    output = head(inputs)
    output.sum().backward()
    assert not output.any()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()
