//! Kilo's own rules, as pure functions of Node objects. (to be written)
