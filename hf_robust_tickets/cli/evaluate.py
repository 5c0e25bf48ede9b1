"""`robust-tickets evaluate`: attacks a model and writes the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigurationError, MissingResourceError
from ..evaluation import evaluate_robustness
from ..evaluation.runner.ranks import process_state
from .data import load_development, load_evaluation, rows_of_file, sample_size
from .gate import run_gate
from .models import load_to_evaluate
from .options import DataOptions, ModelOptions, named, parse
from .several import COLUMNS, TaskOptions, run_several

NUM_EXAMPLES = 1000


@dataclass
class EvaluateOptions:
    """How to attack, and where the report goes."""

    recipes: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of recipes (`robust-tickets resources list` has them all), or my_module:build, or "
            "path/to/file.py:build; default: textfooler, with --gate those of the gate."
        },
    )
    gate: bool = field(
        default=False,
        metadata={"help": "All checks and one verdict: calibrated attacks, one by labels alone, transfer, noise."},
    )
    reference: str | None = field(
        default=None, metadata={"help": "gate: folder or repository of the model that it is compared with."}
    )
    num_examples: int | None = field(
        default=None,
        metadata={"help": "Size of the stratified sample that is attacked; default: 1000, with --gate 200."},
    )
    seed: int = field(default=0, metadata={"help": "Chooses the sample and seeds the attacks."})
    sentence_encoder: str = field(
        default="use", metadata={"help": "use, or a sentence-transformers model: a name, a folder, or minilm."}
    )
    masked_language_model: str | None = field(
        default=None,
        metadata={"help": "For recipes that use one: a name on the Hub or a folder; default: the papers'."},
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "Folder of counter-fitted word vectors; default: TextAttack's cache."}
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "Attack the log-odds at the temperature that calibrates the model too; the least figure counts."
        },
    )
    development_file: str | None = field(
        default=None, metadata={"help": "calibrate: a parquet, csv, tsv or json file that is not the attacked one."}
    )
    development_split: str | None = field(
        default=None, metadata={"help": "calibrate: in its place, another split of --dataset_name, e.g. train."}
    )
    modify_columns: list[str] | None = field(
        default=None, metadata={"help": "Of a pair of texts, the columns that may change; default: the papers' rule."}
    )
    batch_size: int = field(default=256, metadata={"help": "Sentences per forward pass of the victim."})
    output_dir: str = field(
        default="robustness", metadata={"help": "Folder for outcomes as they come and robustness.json."}
    )
    resume: bool = field(default=True, metadata={"help": "Go on with what output_dir holds; --no_resume starts over."})
    num_processes: int = field(
        default=1, metadata={"help": "Processes of this machine that share the work; a launcher's ranks share it too."}
    )
    concurrent_examples: int | None = field(
        default=None, metadata={"help": "Examples side by side in one process; default: 1 on a CPU, 32 elsewhere."}
    )
    bf16: bool = field(default=False, metadata={"help": "Run the model under bfloat16 autocast."})
    torch_compile: bool = field(default=False, metadata={"help": "Compile the model first."})
    until_width: float | None = field(
        default=None, metadata={"help": "Stop when every 95 %% interval is this narrow, e.g. 0.03: three points."}
    )
    query_budget: int | None = field(
        default=None,
        metadata={"help": "Give an example up after so many queries: withstood. gate: of labels alone, else 500."},
    )


def run(argv: list[str]) -> None:
    """Writes `robustness.json` and prints the table; an attack that was cut off continues.

    Under `torchrun` or `accelerate launch` the ranks share the work; one of them prints.
    """
    kinds = (ModelOptions, DataOptions, TaskOptions, EvaluateOptions)
    defaults = COLUMNS.get(named(argv).get("task", "classes"))
    model_options, data_options, task, options = parse("evaluate", kinds, argv, defaults)
    state = process_state()
    distributed = state.num_processes > 1
    if task.task != "classes":
        if distributed:
            raise ConfigurationError(f"expected one process for --task {task.task}, got a launcher's")
        run_several(model_options, data_options, task, options, state.device)
        return
    if options.gate:
        if distributed:
            raise ConfigurationError("expected one process for --gate, got a launcher's: pass --num_processes")
        run_gate(model_options, data_options, options, state.device)
        return
    if options.reference is not None:
        raise ConfigurationError(
            "expected --reference with --gate, got it alone: robust-tickets compare takes reports"
        )
    model, tokenizer = load_to_evaluate(model_options)
    with rows_of_file(data_options):
        report = evaluate_robustness(
            model.to(state.device),
            load_evaluation(data_options),
            tokenizer,
            recipes=options.recipes or ["textfooler"],
            num_examples=sample_size(data_options, options.num_examples or NUM_EXAMPLES),
            seed=options.seed,
            text_columns=data_options.text_columns,
            label_column=data_options.label_column,
            sentence_encoder=options.sentence_encoder,
            masked_language_model=options.masked_language_model,
            word_vectors=options.word_vectors,
            calibrate=options.calibrate,
            development_data=load_development(data_options, options.development_file, options.development_split),
            modify_columns=options.modify_columns,
            batch_size=options.batch_size,
            max_length=data_options.max_length,
            output_dir=options.output_dir,
            resume=options.resume,
            bf16=options.bf16,
            torch_compile=options.torch_compile,
            concurrent_examples=options.concurrent_examples,
            num_processes=options.num_processes,
            distributed=distributed,
            until_width=options.until_width,
            query_budget=options.query_budget,
        )
    if distributed:
        leads = state.is_main_process
        state.destroy_process_group()
        if not leads:
            return
    print(report.summary())
    print(f"report in {Path(options.output_dir) / 'robustness.json'}")
    if report.failures:
        raise MissingResourceError(f"{', '.join(report.failures)} did not run (reasons above)")
