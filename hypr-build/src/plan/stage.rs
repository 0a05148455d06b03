//! One stage: its instructions in order, each either a step of the graph or a change of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CacheUse, Request, Warning, configure,
    error::{PlanError, Problem},
    expand::Words,
    graph::{Graph, ImageRequest, Operation, Origin, Step, StepId, Workdir},
    path, shell,
    stages::{StageBase, Stages, Task},
    variables::{Scope, is_proxy},
};
use crate::{
    dockerfile::{self, Command, Escape, Instruction, Spanned},
    image::{Healthcheck, History, ImageConfig, Platform},
    progress::StepInfo,
};

/// What a stage came to.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) config: ImageConfig,
    pub(crate) origin: Origin,
    /// The arguments that it declared: a stage on top of it has them too.
    pub(super) scope: Scope,
    /// For each entry that this Dockerfile adds to the history: the step that made its layer.
    pub(crate) history: Vec<Option<StepId>>,
}

/// What building a stage reads and adds to.
pub(crate) struct Builder<'r, 'a> {
    pub(crate) request: &'r Request<'a>,
    pub(crate) stages: &'r Stages<'a>,
    pub(crate) images: &'r BTreeMap<ImageRequest, ImageConfig>,
    pub(crate) built: &'r BTreeMap<usize, Built>,
    pub(crate) graph: &'r mut Graph,
}

impl Builder<'_, '_> {
    /// Builds the stage with this number; what it needs is built already.
    pub(crate) fn build(mut self, stage: usize, warnings: &mut Vec<Warning>) -> Result<Built, PlanError> {
        let this = &self.stages.stages[stage];
        let tasks = self.stages.tasks(stage, self.images)?;
        let base = match &this.base {
            StageBase::Scratch => Built {
                config: scratch(&this.platform),
                origin: Origin::Scratch,
                scope: Scope::default(),
                history: Vec::new(),
            },
            StageBase::Stage(base) => self.built[base].clone(),
            StageBase::Image(request) => Built {
                config: self.images[request].clone().into_base(),
                origin: Origin::Image(request.clone()),
                scope: Scope::default(),
                history: Vec::new(),
            },
        };
        let label: Arc<str> = self.stages.label(stage).into();
        let steps = tasks.iter().filter(|task| makes_step(&task.statement.instruction)).count();
        let uncached = match self.request.cache {
            CacheUse::All => false,
            CacheUse::None => true,
            CacheUse::Except(stages) => stages.contains(&*label),
        };
        let mut state = State { built: base, cmd_is_own: false, label, steps, done: 0, uncached };
        // The triggers are about to be carried out: the image made here has none but its own.
        state.built.config.config.on_build.clear();
        for task in &tasks {
            self.instruction(stage, &mut state, task, warnings)?;
        }
        Ok(state.built)
    }

    fn instruction(
        &mut self,
        stage: usize,
        state: &mut State,
        task: &Task<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), PlanError> {
        let statement = &*task.statement;
        match &statement.instruction {
            Instruction::Arg(arg) => return self.arg(state, task, arg),
            Instruction::Run(run) => return self.run(state, task, run),
            Instruction::Copy(copy) => return self.copy(stage, state, task, copy),
            Instruction::Add(add) => return self.add(state, task, add),
            Instruction::Workdir(path) => return self.workdir(state, task, path, warnings),
            _ => {}
        }
        let words = self.words(state, task);
        let mut config = state.built.config.config.clone();
        let mut author = None;
        let text = match &statement.instruction {
            Instruction::Env(env) => {
                // Every value of one ENV sees the variables as they were before it.
                let mut shown = Vec::new();
                for pair in &env.pairs {
                    let (key, value) = (words.word(&pair.key)?, words.word(&pair.value)?);
                    config.set_env(&key, &value);
                    shown.push(format!("{key}={value}"));
                }
                format!("ENV {}", shown.join(" "))
            }
            Instruction::Label(label) => {
                let mut shown = Vec::new();
                for pair in &label.pairs {
                    let (key, value) = (words.word(&pair.key)?, words.word(&pair.value)?);
                    shown.push(format!("{key}={value}"));
                    config.labels.insert(key, value);
                }
                format!("LABEL {}", shown.join(" "))
            }
            Instruction::Expose(expose) => {
                let mut shown = Vec::new();
                for word in &expose.ports {
                    for port in words.split(word)? {
                        configure::expose(&mut config, &port).map_err(|problem| problem.at(task.span(word.span)))?;
                        shown.push(port);
                    }
                }
                format!("EXPOSE {}", shown.join(" "))
            }
            Instruction::Volume(volume) => {
                let mut shown = Vec::new();
                for word in &volume.paths {
                    let path = words.word(word)?;
                    if path.is_empty() {
                        let expected = "a path";
                        return Err(Problem::Value { value: path, expected }.at(task.span(word.span)));
                    }
                    config.volumes.insert(path.clone());
                    shown.push(path);
                }
                format!("VOLUME {}", shell::json(&shown))
            }
            Instruction::User(user) => {
                config.user = words.word(user)?;
                if config.user.is_empty() {
                    let expected = "a user; USER is empty after expansion";
                    return Err(Problem::Value { value: String::new(), expected }.at(task.span(user.span)));
                }
                format!("USER {}", config.user)
            }
            Instruction::StopSignal(signal) => {
                let signal = words.word(signal)?;
                configure::stop_signal(&mut config, &signal)
                    .map_err(|problem| problem.at(task.span(statement.span)))?;
                format!("STOPSIGNAL {signal}")
            }
            Instruction::Cmd(command) => {
                config.cmd = arguments(&config.shell, command);
                config.args_escaped = false;
                format!("CMD {}", shell::json(&config.cmd))
            }
            Instruction::Entrypoint(command) => {
                config.entrypoint = arguments(&config.shell, command);
                // The base image's CMD was meant for the base image's ENTRYPOINT.
                if !state.cmd_is_own {
                    config.cmd.clear();
                }
                format!("ENTRYPOINT {}", shell::json(&config.entrypoint))
            }
            Instruction::Healthcheck(dockerfile::Healthcheck::None) => {
                config.healthcheck = Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
                "HEALTHCHECK NONE".to_owned()
            }
            Instruction::Healthcheck(dockerfile::Healthcheck::Cmd(command, options)) => {
                let test = match command {
                    Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.value.clone()],
                    Command::Exec(args) => ["CMD".to_owned()].into_iter().chain(values(args)).collect(),
                };
                config.healthcheck = Some(configure::healthcheck(test, options));
                statement.text.clone()
            }
            Instruction::Shell(shell) => {
                config.shell = values(&shell.arguments);
                format!("SHELL {}", shell::json(&config.shell))
            }
            Instruction::Onbuild(onbuild) => {
                config.on_build.push(onbuild.trigger.clone());
                format!("ONBUILD {}", onbuild.trigger)
            }
            Instruction::Maintainer(name) => {
                let name = words.word(name)?;
                author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
            Instruction::From(_)
            | Instruction::Arg(_)
            | Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_) => return Ok(()),
        };
        drop(words);
        state.cmd_is_own |= matches!(statement.instruction, Instruction::Cmd(_));
        state.built.config.config = config;
        if author.is_some() {
            state.built.config.author = author;
        }
        state.note(text, None);
        Ok(())
    }

    fn arg(&self, state: &mut State, task: &Task<'_>, arg: &dockerfile::Arg) -> Result<(), PlanError> {
        let mut declared = Vec::new();
        {
            let words = self.words(state, task);
            for declaration in &arg.declarations {
                let default = declaration.default.as_ref().map(|word| words.word(word)).transpose()?;
                declared.push((declaration.name.value.clone(), default));
            }
        }
        let mut shown = vec!["ARG".to_owned()];
        for (name, default) in declared {
            state.built.scope.declare(&name, default, self.request.args, &self.stages.globals);
            shown.push(match state.built.scope.arg(&name) {
                Some(value) if !is_proxy(&name) => format!("{name}={value}"),
                _ => name,
            });
        }
        state.note(shown.join(" "), None);
        Ok(())
    }

    fn workdir(
        &mut self,
        state: &mut State,
        task: &Task<'_>,
        word: &Spanned<String>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), PlanError> {
        let written = self.words(state, task).word(word)?;
        if written.is_empty() {
            let expected = "a path; WORKDIR is empty after expansion";
            return Err(Problem::Value { value: written, expected }.at(task.span(word.span)));
        }
        let config = &mut state.built.config.config;
        if !written.starts_with('/') && config.working_dir.is_empty() {
            let message = format!("relative WORKDIR `{written}` without an absolute one before it starts at /");
            warnings.push(Warning { line: Some(task.line), message });
        }
        let path = path::absolute(&config.working_dir, &written);
        config.working_dir.clone_from(&path);
        let user = config.user.clone();
        self.step(state, task, format!("WORKDIR {path}"), Operation::Workdir(Workdir { path, user }));
        Ok(())
    }

    pub(super) fn step(&mut self, state: &mut State, task: &Task<'_>, text: String, operation: Operation) {
        state.done += 1;
        let info = StepInfo {
            id: 0,
            stage: state.label.clone(),
            number: state.done,
            of: state.steps,
            text: task.statement.text.as_str().into(),
            line: task.line,
        };
        let step = Step { info, parent: state.built.origin.clone(), operation, uncached: state.uncached };
        let id = self.graph.push(step);
        state.built.origin = Origin::Step(id);
        state.note(text, Some(id));
    }

    /// Expansion with what is visible at this point of the stage.
    pub(super) fn words<'s>(&self, state: &'s State, task: &Task<'_>) -> Words<impl Fn(&str) -> Option<&'s str> + 's> {
        let config = &state.built.config.config;
        let scope = &state.built.scope;
        // A trigger was written in another file, whose escape character is not known any more.
        let escape = match task.place {
            None => self.request.dockerfile.directives.escape,
            Some(_) => Escape::default(),
        };
        Words::new(escape, move |name| config.env(name).or_else(|| scope.arg(name)))
    }
}

/// A stage half-way.
pub(super) struct State {
    pub(super) built: Built,
    /// Whether `CMD` was set in this stage.
    cmd_is_own: bool,
    label: Arc<str>,
    /// How many steps the stage will have.
    steps: usize,
    /// How many of them are in the graph.
    done: usize,
    uncached: bool,
}

impl State {
    /// Adds an entry to the history.
    fn note(&mut self, text: String, step: Option<StepId>) {
        let entry = History { created_by: Some(text), empty_layer: step.is_none(), ..History::default() };
        self.built.config.history.push(entry);
        self.built.history.push(step);
    }
}

/// What `FROM scratch` begins with. Docker gives such an image a search path too.
fn scratch(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::new(platform);
    config.config.set_env("PATH", shell::DEFAULT_PATH);
    config
}

/// Whether the instruction is a step of the graph.
fn makes_step(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_))
}

/// CMD and ENTRYPOINT: an empty form resets.
fn arguments(shell: &[String], command: &Command) -> Vec<String> {
    match command {
        Command::Shell(line) if line.is_empty() => Vec::new(),
        Command::Shell(line) => shell::with_shell(shell, line),
        Command::Exec(args) => values(args),
    }
}

pub(super) fn values(words: &[Spanned<String>]) -> Vec<String> {
    words.iter().map(|word| word.value.clone()).collect()
}
