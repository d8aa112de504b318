//! The groups of commands in `rreg --help`, and the examples in the help of each command.

use clap::Command;
use clap::builder::StyledStr;

/// Groups of commands, with the commands in them.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Server", &["serve", "init", "config"]),
    (
        "The registry's own database and store, beside the server",
        &["user", "robot", "org", "can", "audit", "tag", "gc", "fsck"],
    ),
    (
        "Images, at any registry",
        &["login", "logout", "whoami", "push", "pull", "cp", "ls", "inspect", "rm", "sbom"],
    ),
    ("Signatures and evidence", &["key", "sign", "attest", "verify", "tree"]),
    ("Policies", &["gate", "policy", "trust"]),
    ("About rreg", &["version", "completions", "man", "help"]),
];

/// Examples of each command that does something, by its path.
const EXAMPLES: [(&str, &[&str]); 51] = [
    ("serve", &["rreg serve --data /var/lib/rreg", "rreg serve --config /etc/rreg/rreg.toml"]),
    ("init", &["rreg init --config /etc/rreg/rreg.toml"]),
    ("config print", &["rreg config print --config /etc/rreg/rreg.toml"]),
    (
        "config check",
        &[
            "rreg config check --config /etc/rreg/rreg.toml",
            "rreg config check --config ./rreg.toml --elsewhere",
        ],
    ),
    ("config reference", &["rreg config reference"]),
    (
        "user create",
        &["rreg user create alice", "rreg user create root --admin --config /etc/rreg/rreg.toml"],
    ),
    ("user list", &["rreg user list --output json"]),
    ("user delete", &["rreg user delete alice"]),
    ("user passwd", &["rreg user passwd alice --password-stdin"]),
    ("robot create", &["rreg robot create ci --org team --role writer --expires 90d"]),
    ("robot list", &["rreg robot list"]),
    ("robot delete", &["rreg robot delete ci"]),
    ("org create", &["rreg org create team"]),
    ("org list", &["rreg org list"]),
    ("org delete", &["rreg org delete team"]),
    ("org add", &["rreg org add team alice maintainer"]),
    ("org remove", &["rreg org remove team alice"]),
    ("can", &["rreg can alice push team/app", "rreg can anonymous pull library/alpine"]),
    ("audit", &["rreg audit --since 24h", "rreg audit --export jsonl"]),
    ("tag history", &["rreg tag history team/app", "rreg tag history team/app:1.0"]),
    ("tag rule list", &["rreg tag rule list"]),
    ("tag rule create", &["rreg tag rule create releases --repository team/** --tag 1.*"]),
    ("tag rule delete", &["rreg tag rule delete releases"]),
    ("gc plan", &["rreg gc plan", "rreg gc plan --output json"]),
    ("gc run", &["rreg gc run"]),
    ("gc why", &["rreg gc why sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]),
    ("fsck", &["rreg fsck --deep", "rreg fsck --rebuild"]),
    (
        "login",
        &[
            "rreg login registry.example.org",
            "rreg login registry.example.org -u ci --password-stdin < token",
        ],
    ),
    ("logout", &["rreg logout registry.example.org"]),
    ("whoami", &["rreg whoami registry.example.org"]),
    (
        "push",
        &[
            "rreg push ./layout registry.example.org/team/app:1.0",
            "rreg push app.tar http://registry:5000/team/app:1.0",
        ],
    ),
    ("pull", &["rreg pull registry.example.org/team/app:1.0 app.tar"]),
    ("cp", &["rreg cp 127.0.0.1:5000/team/app:1.0 registry.example.org/team/app:1.0"]),
    ("ls", &["rreg ls registry.example.org", "rreg ls registry.example.org/team/app"]),
    (
        "inspect",
        &[
            "rreg inspect registry.example.org/team/app:1.0",
            "rreg inspect registry.example.org/team/app:1.0 --platform linux/arm64",
        ],
    ),
    ("rm", &["rreg rm registry.example.org/team/app:1.0"]),
    ("sbom", &["rreg sbom registry.example.org/team/app:1.0 --format cyclonedx", "rreg sbom ./rootfs"]),
    ("key generate", &["rreg key generate team-a"]),
    ("key public", &["rreg key public team-a.key"]),
    ("sign", &["rreg sign registry.example.org/team/app:1.0 --key team-a.key"]),
    (
        "attest",
        &[
            "rreg attest registry.example.org/team/app:1.0 --predicate provenance.json --type slsaprovenance1 --key team-a.key",
        ],
    ),
    ("verify", &["rreg verify registry.example.org/team/app:1.0 --key team-a.pub"]),
    ("tree", &["rreg tree registry.example.org/team/app:1.0 --key team-a.pub"]),
    ("gate", &["rreg gate registry.example.org/team/app:1.0 --policy policies"]),
    ("policy check", &["rreg policy check policies"]),
    ("policy test", &["rreg policy test policies"]),
    (
        "policy explain",
        &[
            "rreg policy explain registry.example.org/team/app:1.0 --at pull",
            "rreg policy explain registry.example.org --what-if signed.yaml",
        ],
    ),
    ("policy create", &["rreg policy create registry.example.org signed.yaml"]),
    ("trust create", &["rreg trust create registry.example.org team-a.pub team-a.pub"]),
    ("completions", &["rreg completions bash > /etc/bash_completion.d/rreg"]),
    ("man", &["rreg man /usr/local/share/man/man1"]),
];

/// Where the groups stand in the help of `rreg` itself.
const TEMPLATE: &str =
    "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}";

/// Adds groups and examples.
pub(crate) fn explained(command: Command) -> Command {
    let groups = groups(&command);
    let command = command.help_template(TEMPLATE).before_help(groups);
    EXAMPLES.iter().fold(command, |command, (path, examples)| {
        let path: Vec<&str> = path.split(' ').collect();
        at(command, &path, examples)
    })
}

fn groups(command: &Command) -> StyledStr {
    let about = |name: &str| {
        let found = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
        found.unwrap_or_else(|| "Show the help of a command".to_owned())
    };
    let mut text = String::new();
    for (title, names) in GROUPS {
        text += &format!("{}\n", crate::text::paint(crate::text::TITLE, format_args!("{title}:")));
        for name in names {
            text += &format!("  {name:<12} {}\n", about(name));
        }
        text.push('\n');
    }
    StyledStr::from(text.trim_end().to_owned())
}

fn at(command: Command, path: &[&str], examples: &[&str]) -> Command {
    let Some((first, rest)) = path.split_first() else {
        let mut text = String::from("Examples:");
        examples.iter().for_each(|example| text += &format!("\n  {example}"));
        if let Some(after) = command.get_after_help() {
            text = format!("{after}\n\n{text}");
        }
        return command.after_help(text);
    };
    if command.find_subcommand(first).is_none() {
        return command;
    }
    command.mut_subcommand(*first, |command| at(command, rest, examples))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of the commands that do something.
    fn leaves(command: &Command, path: &str, found: &mut Vec<String>) {
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let path = format!("{path} {}", command.get_name()).trim().to_owned();
            if command.has_subcommands() { leaves(command, &path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        grouped.sort_unstable();
        let command = crate::command_line();
        let mut all: Vec<&str> = command.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(grouped, all);
        let help = crate::command_line().render_help().to_string();
        assert!(
            help.contains("Server:") && help.contains("Exit codes:") && help.contains("--output"),
            "{help}"
        );
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut all = Vec::new();
        leaves(&crate::command_line(), "", &mut all);
        // These have nothing to choose: their usage line is the example.
        let plain = [
            "version",
            "policy schema",
            "policy list",
            "policy show",
            "policy delete",
            "trust list",
            "trust delete",
        ];
        for path in all.iter().filter(|path| !plain.contains(&path.as_str())) {
            assert!(EXAMPLES.iter().any(|(known, _)| known == path), "{path} has no example");
        }
        for (path, examples) in EXAMPLES {
            assert!(all.iter().any(|known| known == path), "{path} is no command");
            for example in examples {
                let words = example.split(' ').take_while(|word| !matches!(*word, "<" | ">"));
                crate::command_line()
                    .try_get_matches_from(words)
                    .unwrap_or_else(|e| panic!("{example}: {e}"));
                assert!(example.starts_with(&format!("rreg {path}")), "{example}");
            }
        }
    }

    /// Every command that the text writes out, by the names of it and its parents that help shows first.
    fn commands_by_their_names(place: &str, text: &str) {
        let root = crate::command_line();
        for (at, _) in text.match_indices("rreg ") {
            let mut command = &root;
            for word in text[at..].split([' ', '`', '\n', '"']).skip(1) {
                let Some(found) = command.find_subcommand(word) else { break };
                assert_eq!(found.get_name(), word, "{place}: {:?}", text[at..].lines().next());
                command = found;
            }
        }
    }

    #[test]
    fn what_is_written_calls_commands_as_help_does() {
        fn sources(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    sources(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
                    found.push(path);
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut all =
            vec![root.join("README.md"), root.join("policy/README.md"), root.join("tests/README.md")];
        for part in ["cli/src", "server/src", "policy/src", "gc/src", "runtime", "storage/src", "deploy"] {
            sources(&root.join(part), &mut all);
        }
        for path in all {
            commands_by_their_names(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
        }
    }

    #[test]
    fn verbs_are_the_same_and_old_ones_stay() {
        for line in [
            "user ls",
            "user rm a",
            "robot ls",
            "robot rm a",
            "org ls",
            "org rm a",
            "tag rule add a",
            "tag rule rm a",
            "policy put h f",
            "policy get h a",
            "trust put h a f",
            "list h",
            "delete h.x/a:1",
            "show h.x/a",
            "key create a",
            "tag rule put a",
        ] {
            let words = ["rreg"].into_iter().chain(line.split(' '));
            crate::command_line().try_get_matches_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
