//! starttls-wrapper: the story, top to bottom.

fn main() {}
