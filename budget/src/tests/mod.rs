mod reference;
mod rules;
mod seeds;
mod world;
