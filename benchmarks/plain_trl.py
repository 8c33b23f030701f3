"""The script that a person would write for one run with plain TRL; every tool but the product carries out this one.

    python -m benchmarks.plain_trl 0.1 WORK OUT   ->  OUT/{adapter/, result.json}

Its settings are those of conf/training/default.yaml.
"""

import json
import sys
from pathlib import Path


def run(beta: float, workdir: str, out: str) -> dict[str, float]:
    # Imported here, so that the controllers of the tools that only hand the work on need not wait for it.
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    work = Path(workdir)
    data = load_dataset("json", data_files={"train": str(work / "train.jsonl"), "heldout": str(work / "heldout.jsonl")})
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(work / "model"),
        processing_class=AutoTokenizer.from_pretrained(work / "model"),
        peft_config=LoraConfig(
            r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        args=DPOConfig(
            output_dir=out,
            beta=beta,
            loss_type=["sigmoid"],
            num_train_epochs=1,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=16,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            warmup_steps=0.1,
            optim="adamw_torch",
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=512,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            seed=0,
            data_seed=0,
        ),
    )
    trained = trainer.train()
    evaluated = trainer.evaluate()
    trainer.save_model(str(Path(out, "adapter")))
    result = {
        "beta": beta,
        "train_loss": trained.training_loss,
        "eval_loss": evaluated["eval_loss"],
        "accuracy": evaluated["eval_rewards/accuracies"],
        "margin_nats": evaluated["eval_rewards/margins"] / beta,
    }
    Path(out, "result.json").write_text(json.dumps(result))
    return result


if __name__ == "__main__":
    print(run(float(sys.argv[1]), sys.argv[2], sys.argv[3]))
