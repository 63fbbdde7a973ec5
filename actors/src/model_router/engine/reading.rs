//! A part of a ticket, read for what it asks: what is literal, what is not, and what only tells something.

use super::{
    document::{Block, Code, Piece, What},
    instruction::{Change, Instruction},
    meaning::{self, Meaning},
    phrases::{Sentence, sentences},
    scripts::{is_diff, is_patch},
    words::path_beside_fence,
};

/// What a part of a ticket asks.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What can be done as it is stated, in order.
    pub instructions: Vec<Instruction>,
    /// What is asked for in prose.
    pub unclear: Vec<Unclear>,
    /// Sentences that tell something.
    pub context: Vec<String>,
}

/// A sentence that asks for something without saying it literally.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    pub sentence: String,
    pub why: &'static str,
}

impl Reading {
    pub(super) fn of<'d>(blocks: impl IntoIterator<Item = &'d Block>) -> Self {
        let mut reader =
            Reader { blocks: blocks.into_iter().collect(), at: 0, it: None, reading: Self::default() };
        while let Some(block) = reader.blocks.get(reader.at).copied() {
            reader.at += 1;
            reader.block(block);
        }
        reader.reading
    }

    /// Whether it asks for anything.
    pub(super) fn asks(&self) -> bool {
        !self.unclear.is_empty() || !self.instructions.is_empty()
    }
}

struct Reader<'d> {
    blocks: Vec<&'d Block>,
    /// The place of the next block.
    at: usize,
    /// The file that was spoken of last.
    it: Option<String>,
    reading: Reading,
}

impl<'d> Reader<'d> {
    fn block(&mut self, block: &'d Block) {
        match &block.what {
            What::Heading { line, .. } => self.heading(line),
            What::Prose(pieces) => {
                let mut left = sentences(pieces).into_iter().peekable();
                while let Some(sentence) = left.next() {
                    if block.is_aside {
                        self.reading.context.push(sentence.text);
                    } else {
                        let codes = if left.peek().is_none() { self.codes() } else { Vec::new() };
                        self.sentence(sentence, &codes);
                    }
                }
            }
            What::Code(code) if !block.is_aside => self.bare(code),
            What::Code(_) => {}
        }
    }

    /// The blocks of code that follow.
    fn codes(&self) -> Vec<&'d Code> {
        let code = |block: &&'d Block| match &block.what {
            What::Code(code) if !block.is_aside => Some(code),
            What::Heading { .. } | What::Prose(_) | What::Code(_) => None,
        };
        self.blocks[self.at..].iter().map_while(code).collect()
    }

    /// A heading is a title, unless the block under it makes it an instruction.
    fn heading(&mut self, line: &[Piece]) {
        let codes = self.codes();
        let sentences = sentences(line);
        if let ([sentence], false) = (&sentences[..], codes.is_empty())
            && let Meaning::Does { instructions, codes: used @ 1.. } =
                meaning::of(sentence, &codes, self.it.as_deref())
        {
            self.does(instructions, used);
        }
    }

    fn sentence(&mut self, sentence: Sentence, codes: &[&'d Code]) {
        match meaning::of(&sentence, codes, self.it.as_deref()) {
            Meaning::Context => self.reading.context.push(sentence.text),
            Meaning::Does { instructions, codes } => self.does(instructions, codes),
            Meaning::Cannot(why) => {
                // A diff that names no file is told with its sentence.
                self.at +=
                    usize::from(codes.first().is_some_and(|code| is_diff(code) && !is_patch(&code.text)));
                self.reading.unclear.push(Unclear { sentence: sentence.text, why });
            }
            Meaning::Swap { path, every } => self.swap(sentence, path, every),
        }
    }

    fn does(&mut self, instructions: Vec<Instruction>, codes: usize) {
        if let Some(path) = instructions.iter().rev().find_map(Instruction::path) {
            self.it = Some(path.to_owned());
        }
        self.reading.instructions.extend(instructions);
        self.at += codes;
    }

    /// A block, "with", and another block.
    fn swap(&mut self, sentence: Sentence, path: String, every: bool) {
        let next: Vec<&What> = self.blocks[self.at..].iter().take(3).map(|block| &block.what).collect();
        if let [What::Code(old), What::Prose(joint), What::Code(new)] = next[..]
            && is_joint(joint)
        {
            let (old, new) = (old.text.clone(), new.text.clone());
            let change = Change::Replace { old, new, every, is_lines: true };
            self.does(vec![Instruction::Edit { path, change }], 3);
        } else {
            let why = "what becomes what is not stated";
            self.reading.unclear.push(Unclear { sentence: sentence.text, why });
        }
    }

    /// A block that no sentence speaks of.
    fn bare(&mut self, code: &Code) {
        if let Some(path) = path_beside_fence(&code.tag) {
            let content = code.text.clone();
            self.does(vec![Instruction::Write { path, content, is_executable: false }], 0);
        } else if is_diff(code) && is_patch(&code.text) {
            self.reading.instructions.push(Instruction::Patch(code.text.clone()));
        } else if is_diff(code) {
            self.reading.unclear.push(Unclear {
                sentence: code.text.clone(),
                why: "the diff does not name the file with `---` and `+++` lines",
            });
        }
    }
}

/// "with:", "by this line:".
fn is_joint(pieces: &[Piece]) -> bool {
    let sentences = sentences(pieces);
    let [sentence] = &sentences[..] else { return false };
    let first = sentence.tokens.first().and_then(|token| token.word());
    sentence.tokens.len() <= 8 && first.is_some_and(|word| ["by", "into", "to", "with"].contains(&word))
}
