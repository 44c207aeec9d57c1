//! A writer for the XML that EC2 answers with: elements and text, no attributes but the namespace.

use std::fmt::Display;

use quick_xml::escape::escape;

/// XML text under construction.
#[derive(Debug, Default)]
pub(super) struct Xml {
    text: String,
}

impl Xml {
    /// An empty document with its declaration.
    pub(super) fn document() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// An element with text in it.
    pub(super) fn text(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.open(name);
        self.text.push_str(&escape(&value));
        self.close(name);
    }

    /// An element with text in it, when there is a value.
    pub(super) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// An element with what `write` puts into it.
    pub(super) fn element(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.open(name);
        write(self);
        self.close(name);
    }

    /// The outermost element, in EC2's namespace.
    pub(super) fn root(&mut self, name: &str, namespace: &str, write: impl FnOnce(&mut Self)) {
        self.open(&format!("{name} xmlns=\"{namespace}\""));
        write(self);
        self.close(name);
    }

    /// A list: one `item` for each.
    pub(super) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.element(name, |x| {
            for item in items {
                x.element("item", |x| write(x, item));
            }
        });
    }

    /// Text inside the element that is open.
    pub(super) fn raw(&mut self, value: &str) {
        self.text.push_str(&escape(value));
    }

    /// The finished text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}
