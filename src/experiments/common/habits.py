"""Keys that other programs have, and what is typed here instead of them."""

from collections.abc import Mapping


def _named(words: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), words)


TYPED: Mapping[str, str] = {
    **_named("training.batch_size={}", "batch batchsize minibatch minibatchsize trainbatchsize"),
    **_named("training.epochs={}", "nepoch nepochs nbepoch numepochs maxepochs numtrainepochs"),
    **_named("training.steps={}", "steps maxsteps numsteps iterations iters maxiterations maxiter"),
    **_named("training.accumulate={}", "accumulategradbatches gradientaccumulationsteps gradaccum accumsteps"),
    **_named("training.clip_norm={}", "clipgradnorm maxgradnorm gradientclip gradclipnorm gradientclipping"),
    **_named("training.early_stopping={}", "earlystop earlystoppingpatience"),
    **_named("training.device={}", "accelerator"),
    **_named("optimizer={}", "opt optimizername"),
    **_named("optimizer.lr={}", "learnrate alpha baselr initlr lrinit learningrateinit"),
    **_named("scheduler={}", "sched lrsched lrschedule learningrateschedule"),
    **_named("scheduler.warmup={}", "warmupratio warmupfraction"),
    **_named("init={}", "weightinit weightsinit initialization initmethod kernelinitializer"),
    **_named("model.activation={}", "act actfn activationfn activationfunction nonlinearity"),
    **_named("model.hidden={}", "hiddensize hiddensizes hiddendim hiddenunits hiddenlayers hiddenlayersizes units"),
    **_named("model.dropout={}", "drop droprate dropoutrate dropoutp pdrop dropoutprob"),
    **_named("model.batch_norm={}", "bn usebn batchnormalization"),
    **_named("data.augment={}", "aug"),
    **_named("data.val_fraction={}", "valsplit validationsplit validationfraction valsize valratio validsize"),
    **_named("seed={}", "randomstate randomseed manualseed rngseed"),
    **_named("init_from.path={}", "ckpt checkpoint checkpointpath weights pretrainedweights"),
    **_named("name={}", "expname experimentname runname outputname"),
    **_named("penalty=l1 penalty.strength={}", "l1 l1reg l1lambda"),
    **_named("penalty=l2 penalty.strength={}", "l2 l2reg l2lambda l2regularization"),
}
"""Name of a key, without case and marks between its words -> the words to type, with the same value."""
SWITCHED: Mapping[str, str] = {
    **_named("training.precision=fp16", "amp useamp fp16 half mixedprecision"),
    **_named("training.precision=bf16", "bf16"),
    **_named("training.precision=tf32", "tf32 allowtf32"),
    **_named("data.augment=mixup", "mixup usemixup mixupalpha"),
    **_named("data.augment=cutout", "cutout usecutout"),
    **_named("data.augment=crop_flip", "augmentation augmentations transform transforms"),
}
"""Name of a key whose value is not a no -> the words to type."""
CHOICES: Mapping[str, str] = {
    **{f"model={cell}": f"model=rnn model.cell={cell}" for cell in ("lstm", "gru")},
    **_named("model=torchvision model.name=resnet18", "model=resnet"),
    **_named("model=torchvision model.name=vgg16", "model=vgg"),
    **_named("model=transformer", "model=gpt model=gpt2 model=nanogpt"),
    **_named("model=mlp", "model=linear model=dense model=fc"),
    **_named("model=cnn", "model=conv model=convnet model=lenet"),
    **_named("data.augment=crop_flip", "data.augment=flip data.augment=crop data.augment=horizontal_flip"),
    "loss=l2": "loss=mse",
    "loss=l1": "loss=mae",
    "loss=smooth_l1": "loss=huber",
}
"""A choice or a value as others call it -> the words to type."""
SAID: Mapping[str, str] = {
    **_named("the training examples are shuffled anew in each epoch", "shuffle"),
    **_named(
        "data.workers=2 reads a Dataset of one's own by two processes, and data in memory needs none",
        "numworkers workers nworkers",
    ),
    **_named("batches are copied to a GPU from pinned memory, one ahead", "pinmemory prefetchfactor"),
    **_named(
        "a run's folder is outputs/<name>/<date>_<time>: name=<name> sets one part, hydra.run.dir=<folder> the whole",
        "output outputs outputdir outdir savedir savepath logdir rundir resultsdir defaultrootdir",
    ),
    **_named(
        "model.hidden lists the units of each layer: model.hidden=[100,100] has two", "layers nlayers numlayers depth"
    ),
    **_named("optimizer.betas=[0.9,0.999] sets both", "beta1 beta2 adambeta1 adambeta2"),
    **_named("scheduler.warmup is a share of training, such as 0.1", "warmupsteps warmupepochs nwarmup"),
    **_named("scheduler.factor is what scheduler=step multiplies the rate by", "gamma lrdecay lrgamma"),
    **_named(
        "scheduler.every is a share of training: with scheduler=step scheduler.every=0.25 the rate falls three times",
        "stepsize lrstep decaysteps",
    ),
    **_named("a schedule is as long as the training: training.epochs", "tmax totaliters totalsteps decayepochs"),
    **_named("scheduler.final is the last rate divided by optimizer.lr", "etamin minlr endlr finallr lrmin"),
    **_named("scheduler.cycles is the number of cycles, scheduler.growth how much longer each is", "t0 tmult"),
    **_named("the highest rate of scheduler=one_cycle is optimizer.lr, at the share scheduler.peak", "maxlr pctstart"),
    **_named("model.dropout is the probability of dropping a unit, 1 - keep_prob", "keepprob pkeep"),
    **_named(
        "data.root is the folder of downloaded sets such as data=mnist, data.path a file or folder of one's own",
        "root datadir dataroot datafolder datasetpath trainpath inputdir",
    ),
    **_named(
        "data.test_fraction is a setting of one's own tables and pictures, such as data=csv",
        "testsize testsplit testratio testfraction",
    ),
    **_named("init_from=<run folder, file or torchvision's name> starts from trained weights", "pretrained finetune"),
    **_named("resume=<run folder> continues a run", "resumefrom resumefromcheckpoint resumepath continue"),
    **_named("data.limit=100 training.epochs=1 is a short try", "debug fastdevrun overfitbatches dryrun limittrain"),
    **_named("observers.progress.enabled=false prints no epochs", "verbose verbosity quiet silent progressbar"),
    **_named(
        "a tracker is an observer of one's own: observers={tracker:{_target_:mine.Tracker}}",
        "wandb usewandb mlflow comet neptune logger loggers tracker",
    ),
}
"""Name of a key that has no counterpart here -> an explanation, or the setting that does something similar."""
EXPLAINED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "best epoch long past", "class imbalance", "data suspect", "dead units", "exploding gradients", "healthy",
            "initial loss off", "large batch", "learning rate too high", "learning rate too low",
            "limited by the data or by the model", "not better than a constant", "not better than the bigram table",
            "not finite", "one class", "outliers", "overfitting", "questionable data", "questionable model",
            "saturation", "still improving", "stuck", "symmetry", "underfitting", "uneven errors",
            "updates too large", "updates too small", "vanishing gradients", "waiting for data",
            "verdict", "verdicts", "remedy", "remedies",
        ),
        "a word of the verdicts; see docs/verdicts.md",
    ),
    **dict.fromkeys(
        (
            "activation_mean", "activation_std", "correlation", "dead", "gradient_norm", "mean_drift", "probe",
            "saturated", "signal", "signal_ratio", "spread_drift", "top_class", "twins", "update_cosine",
            "update_gradient_norm", "update_ratio",
        ),
        "a word of layers.csv, which has the numbers of the layers; see docs/run_folder.md",
    ),
    **dict.fromkeys(
        ("letters", "interval", "p value", "points", "cannot be told apart", "equivalent", "fair comparison"),
        "a word of the comparison of runs; see docs/comparison.md",
    ),
    **dict.fromkeys(
        ("calibration", "equal scores", "logit", "residual", "run", "score", "stack", "dead unit"),
        "a word of the glossary; see docs/glossary.md",
    ),
}  # fmt: skip
"""Words in the output that are not settings -> what each is, and the page of the documentation that explains it."""
