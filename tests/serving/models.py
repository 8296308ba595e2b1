"""The models that the gateway of these tests offers: small ones, whose answers can be told without a model."""

from reelspace.serving.signatures import EncoderSizes, Signature, TensorSpec, text_signature

DOUBLING = Signature("doubling", (TensorSpec("X", "FP32", (2,)),), (TensorSpec("Y", "FP32", (2,)),), max_batch=8)
TEXT_ENCODER = text_signature("text_encoder", EncoderSizes(dimension=2))
VERSIONED = Signature(
    "versioned",
    (TensorSpec("X", "FP32", (2,)),),
    (TensorSpec("EMBEDDING", "FP32", (2,)), TensorSpec("VERSION", "INT32", (1,)), TensorSpec("SPACE_ID", "BYTES", (1,))),
    max_batch=8,
)
SIGNATURES = {signature.model: signature for signature in (DOUBLING, TEXT_ENCODER, VERSIONED)}
