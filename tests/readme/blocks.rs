//! Fenced blocks of Markdown, and the commands in them.

/// What stands between two fences.
pub(super) struct Block {
    /// The information string.
    pub(super) kind: String,
    pub(super) text: String,
    /// The line of the first fence.
    pub(super) line: usize,
    /// Whether the block before is of commands that are run.
    pub(super) follows_commands: bool,
}

/// One command, as it is pasted.
pub(super) struct Pasted {
    pub(super) text: String,
    pub(super) line: usize,
    /// Whether it has to fail.
    pub(super) refused: bool,
}

pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(kind), None) => {
                let follows_commands = blocks.last().is_some_and(|block| block.kind == "sh");
                let kind = kind.trim().to_owned();
                open = Some(Block { kind, text: String::new(), line: number, follows_commands });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// The commands of a block: a line each, with those that it goes on in and the text that it brings (`<<'EOF'`).
pub(super) fn commands(block: &Block) -> Vec<Pasted> {
    let mut commands = Vec::new();
    let mut lines = (block.line + 1..).zip(block.text.lines());
    while let Some((line, first)) = lines.next() {
        if first.trim().is_empty() || first.starts_with('#') {
            continue;
        }
        let mut text = first.to_owned();
        let (mut last, mut code) = (first, first.split(" #").next().unwrap_or_default().trim_end());
        while code.ends_with(['\\', '|']) || code.ends_with("&&") {
            let Some((_, next)) = lines.next() else { break };
            text = format!("{text}\n{next}");
            (last, code) = (next, next.split(" #").next().unwrap_or_default().trim_end());
        }
        if last.contains("<<'EOF'") {
            for (_, next) in lines.by_ref() {
                text = format!("{text}\n{next}");
                if next == "EOF" {
                    break;
                }
            }
        }
        let refused = text.lines().any(|line| line.contains("# refused"));
        commands.push(Pasted { text, line, refused });
    }
    commands
}

#[test]
fn a_command_is_pasted_whole() {
    let text = "a\n```sh\none  # comment\ntwo \\\n  more\n\ncat > f <<'EOF'\n# a line\nEOF\nthree   # refused: no\n```\n```text\nx\n```\n";
    let blocks = blocks(text);
    let kinds: Vec<_> = blocks.iter().map(|block| (block.kind.as_str(), block.follows_commands)).collect();
    assert_eq!(kinds, [("sh", false), ("text", true)]);
    let commands = commands(&blocks[0]);
    let texts: Vec<_> = commands.iter().map(|command| (command.text.as_str(), command.refused)).collect();
    let here = "cat > f <<'EOF'\n# a line\nEOF";
    let expected = [
        ("one  # comment", false),
        ("two \\\n  more", false),
        (here, false),
        ("three   # refused: no", true),
    ];
    assert_eq!(texts, expected);
}
