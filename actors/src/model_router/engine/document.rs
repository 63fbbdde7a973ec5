//! A ticket's markdown as a flat list of blocks, each with its place in the source.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A ticket as it is read: blocks in their order.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub source: &'t str,
    pub blocks: Vec<Block>,
    /// The items of lists that stand in no other list.
    pub items: Vec<Item>,
}

/// One heading, paragraph or block of code.
#[derive(Debug)]
pub(super) struct Block {
    pub what: What,
    pub span: Range<usize>,
    /// The place in [`Document::items`] of the item that holds it.
    pub item: Option<usize>,
    /// Whether it stands in a quotation, table or footnote, which tell and do not ask.
    pub is_aside: bool,
}

#[derive(Debug)]
pub(super) enum What {
    Heading { level: u8, line: Vec<Piece> },
    Prose(Vec<Piece>),
    Code(Code),
}

/// A block of code.
#[derive(Debug)]
pub(super) struct Code {
    /// What stands beside the opening fence.
    pub tag: String,
    pub text: String,
}

/// A part of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Code(String),
    Strong(String),
}

#[derive(Debug)]
pub(super) struct Item {
    pub is_numbered: bool,
    pub span: Range<usize>,
}

/// What stands under one heading of the first or second level, or before any.
#[derive(Debug)]
pub(super) struct Section<'d> {
    pub heading: Option<Heading<'d>>,
    /// What stands under the heading.
    pub blocks: &'d [Block],
    /// The same, with the heading.
    pub whole: &'d [Block],
    /// The heading and all under it.
    pub span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Heading<'d> {
    pub level: u8,
    pub line: &'d [Piece],
    pub text: String,
    pub span: Range<usize>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(source: &'t str) -> Self {
        let mut builder = Builder::default();
        let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES;
        for (event, span) in Parser::new_ext(source, options).into_offset_iter() {
            builder.take(event, span);
        }
        builder.close();
        Self { source, blocks: builder.blocks, items: builder.items }
    }

    /// Splits at the headings of the first two levels that stand in no list or quotation.
    pub(super) fn sections(&self) -> Vec<Section<'_>> {
        let is_start = |block: &Block| {
            matches!(block.what, What::Heading { level: ..=2, .. }) && block.item.is_none() && !block.is_aside
        };
        let starts: Vec<usize> = (0..self.blocks.len()).filter(|at| is_start(&self.blocks[*at])).collect();
        let place = |at: usize| self.blocks.get(at).map_or(self.source.len(), |block| block.span.start);
        let mut sections = Vec::new();
        let first = starts.first().copied().unwrap_or(self.blocks.len());
        if first > 0 {
            let blocks = &self.blocks[..first];
            sections.push(Section { heading: None, blocks, whole: blocks, span: 0..place(first) });
        }
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(self.blocks.len());
            sections.push(Section {
                heading: Heading::of(&self.blocks[*start]),
                blocks: &self.blocks[start + 1..end],
                whole: &self.blocks[*start..end],
                span: place(*start)..place(end),
            });
        }
        sections
    }
}

impl<'d> Heading<'d> {
    fn of(block: &'d Block) -> Option<Self> {
        let What::Heading { level, line } = &block.what else { return None };
        Some(Self { level: *level, line, text: plain(line), span: block.span.clone() })
    }
}

/// The words of a line, without marks.
pub(super) fn plain(line: &[Piece]) -> String {
    let words = line.iter().map(|piece| match piece {
        Piece::Text(text) | Piece::Code(text) | Piece::Strong(text) => text.as_str(),
    });
    words.collect::<String>().trim().to_owned()
}

/// The text without the block of settings between `---` that it may begin with.
pub(super) fn without_front_matter(text: &str) -> &str {
    let whole = text.trim_start_matches('\u{feff}');
    let Some(rest) = whole.trim_start().strip_prefix("---").and_then(|rest| after_line_end(rest)) else {
        return whole;
    };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        at += line.len();
        let line = line.trim_end();
        if line == "---" || line == "..." {
            return &rest[at..];
        }
        let is_setting = line.is_empty() || line.starts_with([' ', '#', '-']) || line.contains(':');
        if !is_setting {
            break;
        }
    }
    whole
}

fn after_line_end(rest: &str) -> Option<&str> {
    rest.strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n"))
}

/// The block that is being read.
#[derive(Debug)]
enum Open {
    Heading(u8),
    Prose,
    Code(String),
}

#[derive(Debug, Default)]
struct Builder {
    blocks: Vec<Block>,
    items: Vec<Item>,
    item: Option<usize>,
    /// Whether each list that is open is numbered.
    lists: Vec<bool>,
    asides: usize,
    strong: usize,
    open: Option<(Open, Range<usize>)>,
    pieces: Vec<Piece>,
    code: String,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Range<usize>) {
        if let Event::Start(tag) = event {
            self.start(tag, span);
        } else if let Event::End(tag) = event {
            self.end(tag);
        } else if let Event::Text(text) = event {
            if matches!(self.open, Some((Open::Code(_), _))) {
                self.code.push_str(&text);
            } else {
                self.text(&text, span);
            }
        } else if let Event::Code(code) = event {
            self.leaf(span);
            self.pieces.push(Piece::Code(code.into_string()));
        } else if matches!(event, Event::SoftBreak | Event::HardBreak) {
            self.text(" ", span);
        } else if let Event::InlineHtml(text) = event {
            self.text(&text, span);
        }
    }

    fn start(&mut self, tag: Tag<'_>, span: Range<usize>) {
        if let Tag::Heading { level, .. } = tag {
            self.close();
            self.open = Some((Open::Heading(level as u8), span));
        } else if matches!(tag, Tag::Paragraph) {
            self.close();
            self.open = Some((Open::Prose, span));
        } else if let Tag::CodeBlock(kind) = tag {
            self.close();
            let tag = if let CodeBlockKind::Fenced(tag) = kind { tag.into_string() } else { String::new() };
            self.open = Some((Open::Code(tag), span));
        } else if let Tag::List(first) = tag {
            self.close();
            self.lists.push(first.is_some());
        } else if matches!(tag, Tag::Item) {
            self.close();
            if let ([is_numbered], 0) = (self.lists.as_slice(), self.asides) {
                self.item = Some(self.items.len());
                self.items.push(Item { is_numbered: *is_numbered, span });
            }
        } else if matches!(tag, Tag::BlockQuote(_) | Tag::Table(_) | Tag::FootnoteDefinition(_)) {
            self.close();
            self.asides += 1;
        } else if matches!(tag, Tag::TableCell | Tag::HtmlBlock) {
            self.close();
        } else if matches!(tag, Tag::Strong | Tag::Emphasis) {
            self.strong += 1;
        }
    }

    fn end(&mut self, tag: TagEnd) {
        if matches!(tag, TagEnd::Heading(_) | TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::TableCell) {
            self.close();
        } else if matches!(tag, TagEnd::Item) {
            self.close();
            if self.lists.len() == 1 {
                self.item = None;
            }
        } else if matches!(tag, TagEnd::List(_)) {
            self.close();
            self.lists.pop();
        } else if matches!(tag, TagEnd::BlockQuote(_) | TagEnd::Table | TagEnd::FootnoteDefinition) {
            self.close();
            self.asides = self.asides.saturating_sub(1);
        } else if matches!(tag, TagEnd::Strong | TagEnd::Emphasis) {
            self.strong = self.strong.saturating_sub(1);
        }
    }

    /// Text may stand in an item of a list without a paragraph of its own.
    fn leaf(&mut self, span: Range<usize>) {
        match &mut self.open {
            Some((_, whole)) => whole.end = whole.end.max(span.end),
            None => self.open = Some((Open::Prose, span)),
        }
    }

    fn text(&mut self, text: &str, span: Range<usize>) {
        self.leaf(span);
        let is_strong = self.strong > 0;
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) if !is_strong => last.push_str(text),
            Some(Piece::Strong(last)) if is_strong => last.push_str(text),
            _ if is_strong => self.pieces.push(Piece::Strong(text.to_owned())),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn close(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let text = std::mem::take(&mut self.code);
        self.strong = 0;
        let Some((open, span)) = self.open.take() else { return };
        let what = match open {
            Open::Heading(level) => What::Heading { level, line: pieces },
            Open::Prose => What::Prose(pieces),
            Open::Code(tag) => What::Code(Code { tag, text }),
        };
        self.blocks.push(Block { what, span, item: self.item, is_aside: self.asides > 0 });
    }
}
