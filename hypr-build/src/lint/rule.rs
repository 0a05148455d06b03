//! The rules and what they are for.

use std::fmt;

/// A build check, by BuildKit's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is described by `Rule::description`")]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidBaseImagePlatform,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JSONArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

impl Rule {
    /// Every rule, in the order of their names.
    pub const ALL: [Self; 22] = [
        Self::ConsistentInstructionCasing,
        Self::CopyIgnoredFile,
        Self::DuplicateStageName,
        Self::ExposeInvalidFormat,
        Self::ExposeProtoCasing,
        Self::FromAsCasing,
        Self::FromPlatformFlagConstDisallowed,
        Self::InvalidBaseImagePlatform,
        Self::InvalidDefaultArgInFrom,
        Self::InvalidDefinitionDescription,
        Self::JSONArgsRecommended,
        Self::LegacyKeyValueFormat,
        Self::MaintainerDeprecated,
        Self::MultipleInstructionsDisallowed,
        Self::NoEmptyContinuation,
        Self::RedundantTargetPlatform,
        Self::ReservedStageName,
        Self::SecretsUsedInArgOrEnv,
        Self::StageNameCasing,
        Self::UndefinedArgInFrom,
        Self::UndefinedVar,
        Self::WorkdirRelativePath,
    ];

    /// The name, as `# check=skip=` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::JSONArgsRecommended => "JSONArgsRecommended",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::ReservedStageName => "ReservedStageName",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::StageNameCasing => "StageNameCasing",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::UndefinedVar => "UndefinedVar",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
        }
    }

    /// The rule of that name; case counts.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// What the rule asks for.
    pub const fn description(self) -> &'static str {
        match self {
            Self::ConsistentInstructionCasing => "instructions are all written in capitals, or all without",
            Self::CopyIgnoredFile => "a source that .dockerignore leaves out cannot be copied",
            Self::DuplicateStageName => "each stage has a name of its own",
            Self::ExposeInvalidFormat => "EXPOSE names ports of the container, not addresses and ports of the host",
            Self::ExposeProtoCasing => "the protocol of a port is written in small letters",
            Self::FromAsCasing => "FROM and AS are written in the same case",
            Self::FromPlatformFlagConstDisallowed => "a fixed --platform keeps the stage from being built for another",
            Self::InvalidBaseImagePlatform => "the base image is for the platform that was asked for",
            Self::InvalidDefaultArgInFrom => "the defaults of its arguments make FROM name an image",
            Self::InvalidDefinitionDescription => {
                "a comment right above a stage or argument describes it and begins with its name"
            }
            Self::JSONArgsRecommended => "CMD and ENTRYPOINT in JSON form let the program receive signals",
            Self::LegacyKeyValueFormat => "ENV and LABEL put `=` between name and value",
            Self::MaintainerDeprecated => "a label names the author in place of MAINTAINER",
            Self::MultipleInstructionsDisallowed => {
                "of several CMD, ENTRYPOINT or HEALTHCHECK only the last one counts"
            }
            Self::NoEmptyContinuation => "a continued instruction has no blank lines in it",
            Self::RedundantTargetPlatform => "$TARGETPLATFORM is what FROM takes anyway",
            Self::ReservedStageName => "`scratch` and `context` are not names for stages",
            Self::SecretsUsedInArgOrEnv => "secrets stay in the image when they are given with ARG or ENV",
            Self::StageNameCasing => "names of stages are written in small letters",
            Self::UndefinedArgInFrom => "FROM uses arguments that are declared before the first stage",
            Self::UndefinedVar => "variables are declared before they are used",
            Self::WorkdirRelativePath => "a first WORKDIR that is relative depends on the base image",
        }
    }

    /// Where the rule is explained: its page in the reference of build checks. There is none for the platform of a base.
    pub fn url(self) -> Option<String> {
        const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";
        if self == Self::InvalidBaseImagePlatform {
            return None;
        }
        let mut page = String::new();
        // The page of a name is its words with dashes between them; JSON is one of the words.
        for char in self.name().replace("JSON", "Json").chars() {
            if char.is_ascii_uppercase() && !page.is_empty() {
                page.push('-');
            }
            page.push(char.to_ascii_lowercase());
        }
        Some(format!("{PAGES}{page}/"))
    }

    /// Whether the rule is quiet unless `# check=experimental=` names it.
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::CopyIgnoredFile | Self::InvalidDefinitionDescription)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
