// The few calls by which the organ uses llama.cpp (engine/llama.rs). No exception leaves this file, and nothing is written anywhere.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "json-schema-to-grammar.h"
#include "json.h"
#include "llama.h"

// What the grammar's part of the engine needs of a file that needs all the rest of it.
std::string string_join(const std::vector<std::string> & parts, const std::string & between);
std::vector<std::string> string_split(const std::string & text, const std::string & between);
std::string string_repeat(const std::string & text, size_t times);

std::string string_join(const std::vector<std::string> & parts, const std::string & between) {
    std::string text;
    for (size_t at = 0; at < parts.size(); at++) {
        text += at == 0 ? parts[at] : between + parts[at];
    }
    return text;
}

std::vector<std::string> string_split(const std::string & text, const std::string & between) {
    std::vector<std::string> parts;
    size_t from = 0;
    for (size_t to; (to = text.find(between, from)) != std::string::npos; from = to + between.size()) {
        parts.push_back(text.substr(from, to - from));
    }
    parts.push_back(text.substr(from));
    return parts;
}

std::string string_repeat(const std::string & text, size_t times) {
    std::string all;
    while (times-- > 0) {
        all += text;
    }
    return all;
}

namespace {

// Tokens of a prompt that are computed together.
constexpr uint32_t BATCH = 256;
// What is chosen from, where the temperature is above 0.
constexpr int32_t LIKELIEST = 40;
constexpr float TOGETHER = 0.95f;
constexpr float AT_LEAST = 0.05f;

void silent(ggml_log_level, const char *, void *) {}

void keep(const char * text, char * to, size_t size) {
    const size_t length = std::min(strlen(text), size - 1);
    memcpy(to, text, length);
    to[length] = 0;
}

struct Free {
    void operator()(llama_context * it) const { llama_free(it); }
    void operator()(llama_sampler * it) const { llama_sampler_free(it); }
    void operator()(ggml_threadpool * it) const { ggml_threadpool_free(it); }
};

template <typename T> using Owned = std::unique_ptr<T, Free>;

uint32_t embedding(const llama_model * model) {
    char name[128], value[32];
    if (llama_model_meta_val_str(model, "general.architecture", name, sizeof(name)) < 0) {
        return 0;
    }
    const std::string key = std::string(name) + ".pooling_type";
    if (llama_model_meta_val_str(model, key.c_str(), value, sizeof(value)) < 0) {
        return 0;
    }
    const int pooling = atoi(value);
    return pooling == LLAMA_POOLING_TYPE_MEAN || pooling == LLAMA_POOLING_TYPE_CLS || pooling == LLAMA_POOLING_TYPE_LAST;
}

// The prompt as the model was trained to read it; without a template that the engine knows, as it stands.
std::string written(const llama_model * model, const std::string & system, const std::string & prompt, bool & special) {
    const char * form = llama_model_chat_template(model, nullptr);
    std::vector<llama_chat_message> said;
    if (!system.empty()) {
        said.push_back({ "system", system.c_str() });
    }
    said.push_back({ "user", prompt.c_str() });
    special = false;
    if (form != nullptr) {
        const int32_t length = llama_chat_apply_template(form, said.data(), said.size(), true, nullptr, 0);
        if (length > 0) {
            std::string text(length + 1, 0);
            llama_chat_apply_template(form, said.data(), said.size(), true, &text[0], length + 1);
            text.resize(length);
            special = true;
            return text;
        }
    }
    return system.empty() ? prompt : system + "\n\n" + prompt;
}

llama_context * context(llama_model * model, uint32_t tokens, uint32_t threads, bool embeds) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = tokens;
    params.n_batch = embeds ? tokens : std::min(BATCH, tokens);
    params.n_ubatch = params.n_batch;
    params.n_seq_max = 1;
    params.n_outputs_max = embeds ? 0 : 1;
    params.n_threads = params.n_threads_batch = threads;
    params.embeddings = embeds;
    params.pooling_type = embeds ? LLAMA_POOLING_TYPE_UNSPECIFIED : LLAMA_POOLING_TYPE_NONE;
    params.no_perf = true;
    // Layers that look back over a window remember no more than that: nothing is ever taken back.
    params.swa_full = false;
    return llama_init_from_model(model, params);
}

// A context that has never heard anything: who answers begins with a copy of it, which takes no time and no memory that is not written to.
llama_context * ready = nullptr;

} // namespace

extern "C" {

// What is asked; `engine/llama.rs` has the same.
struct organ_asked {
    const char * system;
    const char * prompt;
    const char * schema;
    float temperature;
    uint32_t seed;
    uint32_t context;
    uint32_t threads;
};

enum organ_end : int32_t { ORGAN_END = -1, ORGAN_FAULT = -2, ORGAN_LONG = -3, ORGAN_SCHEMA = -4 };

struct organ_answer {
    const llama_vocab * vocab;
    Owned<ggml_threadpool> threads;
    Owned<llama_context> context;
    Owned<llama_sampler> grammar;
    Owned<llama_sampler> choice;
    std::vector<llama_token> prompt;
    std::vector<llama_token_data> candidates;
    bool is_greedy;
    llama_token last;
    bool has_last;
};

// Maps a model; null, and why.
llama_model * organ_load(const char * path, char * why, size_t size) {
    try {
        llama_log_set(silent, nullptr);
        llama_backend_init();
        llama_model_params params = llama_model_default_params();
        params.load_mode = LLAMA_LOAD_MODE_MMAP;
        // A copy in another order would be memory of our own, as large as the model.
        params.use_extra_bufts = false;
        params.n_gpu_layers = 0;
        llama_model * model = llama_model_load_from_file(path, params);
        if (model == nullptr) {
            keep("the engine cannot read it: it is damaged, cut short, or of a kind that this engine does not know", why, size);
        }
        return model;
    } catch (const std::exception & error) {
        keep(error.what(), why, size);
    } catch (...) {
        keep("unknown fault", why, size);
    }
    return nullptr;
}

// Makes an empty context for the questions of so many tokens and fewer; without one, each makes its own.
void organ_ready(llama_model * model, uint32_t tokens, uint32_t threads) {
    try {
        ready = context(model, tokens, threads, false);
    } catch (...) {
        ready = nullptr;
    }
}

uint32_t organ_context(const llama_model * model) {
    return llama_model_n_ctx_train(model);
}

uint32_t organ_embeds(const llama_model * model) {
    return embedding(model);
}

uint32_t organ_dimensions(const llama_model * model) {
    return llama_model_n_embd_out(model);
}

// Understands a question and begins its answer: null, an `organ_end`, and why. `tokens` is how many the prompt has.
organ_answer * organ_begin(llama_model * model, const organ_asked * asked, uint32_t embeds, uint32_t * tokens, int32_t * end, char * why, size_t size) {
    *end = ORGAN_FAULT;
    try {
        auto answer = std::make_unique<organ_answer>();
        const llama_vocab * vocab = answer->vocab = llama_model_get_vocab(model);
        bool special = false;
        const std::string text = embeds ? std::string(asked->prompt) : written(model, asked->system, asked->prompt, special);
        auto & prompt = answer->prompt;
        prompt.resize(text.size() + 8);
        const auto read = [&] {
            return llama_tokenize(vocab, text.data(), text.size(), prompt.data(), prompt.size(), true, special);
        };
        int32_t found = read();
        if (found < 0 && found != std::numeric_limits<int32_t>::min()) {
            // A character may be several tokens: that is how many.
            prompt.resize(-found);
            found = read();
        }
        if (found <= 0) {
            keep("the prompt has no tokens", why, size);
            return nullptr;
        }
        prompt.resize(found);
        *tokens = found;
        if (uint32_t(found) >= asked->context + (embeds ? 1 : 0)) {
            *end = ORGAN_LONG;
            return nullptr;
        }
        if (asked->schema[0] != 0) {
            *end = ORGAN_SCHEMA;
            const std::string grammar = json_schema_to_grammar(common_json::parse(asked->schema));
            answer->grammar.reset(llama_sampler_init_grammar(vocab, grammar.c_str(), "root"));
            if (answer->grammar == nullptr) {
                keep("the engine cannot follow it", why, size);
                return nullptr;
            }
            *end = ORGAN_FAULT;
        }
        const bool is_own = ready != nullptr && llama_get_model(ready) == model;
        const bool fits = is_own && !embeds && asked->context <= llama_n_ctx(ready);
        answer->context.reset(fits ? ready : context(model, asked->context, asked->threads, embeds));
        if (answer->context == nullptr) {
            keep("no memory for a context of its own", why, size);
            return nullptr;
        }
        if (asked->threads > 1) {
            ggml_threadpool_params pool = ggml_threadpool_params_default(asked->threads);
            // Threads sleep while there is nothing for them, whatever else wants the processor.
            pool.poll = 0;
            answer->threads.reset(ggml_threadpool_new(&pool));
            llama_attach_threadpool(answer->context.get(), answer->threads.get(), nullptr);
        }
        llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
        answer->choice.reset(chain);
        answer->is_greedy = asked->temperature <= 0;
        if (asked->temperature > 0) {
            llama_sampler_chain_add(chain, llama_sampler_init_top_k(LIKELIEST));
            llama_sampler_chain_add(chain, llama_sampler_init_top_p(TOGETHER, 1));
            llama_sampler_chain_add(chain, llama_sampler_init_min_p(AT_LEAST, 1));
            llama_sampler_chain_add(chain, llama_sampler_init_temp(asked->temperature));
            llama_sampler_chain_add(chain, llama_sampler_init_dist(asked->seed));
        } else {
            llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        }
        answer->has_last = false;
        return answer.release();
    } catch (const std::exception & error) {
        keep(error.what(), why, size);
    } catch (...) {
        keep("unknown fault", why, size);
    }
    return nullptr;
}

// All of the prompt.
static bool read_prompt(organ_answer * answer) {
    auto & prompt = answer->prompt;
    const size_t batch = llama_n_batch(answer->context.get());
    for (size_t from = 0; from < prompt.size(); from += batch) {
        const size_t many = std::min(batch, prompt.size() - from);
        if (llama_decode(answer->context.get(), llama_batch_get_one(&prompt[from], many)) != 0) {
            return false;
        }
    }
    return true;
}

// The first of the likeliest. Side by side, as a processor compares: there are as many as the model has tokens, a quarter of a million.
static llama_token likeliest(const float * logits, int32_t many) {
    constexpr int32_t SIDE = 16;
    float best[SIDE];
    std::fill(best, best + SIDE, -std::numeric_limits<float>::infinity());
    int32_t at = 0;
    for (; at + SIDE <= many; at += SIDE) {
        for (int32_t side = 0; side < SIDE; side++) {
            best[side] = logits[at + side] > best[side] ? logits[at + side] : best[side];
        }
    }
    const float whole = *std::max_element(best, best + SIDE);
    const float most = at < many ? std::max(whole, *std::max_element(logits + at, logits + many)) : whole;
    const float * found = std::find(logits, logits + many, most);
    return found < logits + many ? llama_token(found - logits) : 0;
}

// The token that comes next. What the grammar forbids is looked for among all tokens only where the first choice is forbidden.
static llama_token choose(organ_answer * answer) {
    const int32_t many = llama_vocab_n_tokens(answer->vocab);
    auto & all = answer->candidates;
    const float * logits = llama_get_logits_ith(answer->context.get(), -1);
    const auto fill = [&] {
        all.resize(many);
        for (llama_token id = 0; id < many; id++) {
            all[id] = { id, logits[id], 0.0f };
        }
        return llama_token_data_array{ all.data(), all.size(), -1, false };
    };
    const auto pick = [&](bool by_grammar) {
        llama_token_data_array found = fill();
        if (by_grammar) {
            llama_sampler_apply(answer->grammar.get(), &found);
        }
        llama_sampler_apply(answer->choice.get(), &found);
        return found.data[found.selected].id;
    };
    llama_token token = answer->is_greedy ? likeliest(logits, many) : pick(false);
    if (answer->grammar != nullptr) {
        llama_token_data one = { token, 1.0f, 0.0f };
        llama_token_data_array alone = { &one, 1, -1, false };
        llama_sampler_apply(answer->grammar.get(), &alone);
        if (std::isinf(one.logit)) {
            token = pick(true);
        }
        llama_sampler_accept(answer->grammar.get(), token);
    }
    llama_sampler_accept(answer->choice.get(), token);
    return token;
}

// The bytes of the next token, or an `organ_end`. A token may have none.
int32_t organ_next(organ_answer * answer, char * bytes, size_t size) {
    try {
        if (answer->has_last) {
            if (llama_decode(answer->context.get(), llama_batch_get_one(&answer->last, 1)) != 0) {
                return ORGAN_FAULT;
            }
        } else if (!read_prompt(answer)) {
            return ORGAN_FAULT;
        }
        answer->last = choose(answer);
        answer->has_last = true;
        if (llama_vocab_is_eog(answer->vocab, answer->last)) {
            return ORGAN_END;
        }
        const int32_t length = llama_token_to_piece(answer->vocab, answer->last, bytes, size, 0, false);
        return length < 0 ? ORGAN_FAULT : length;
    } catch (...) {
        return ORGAN_FAULT;
    }
}

// The numbers of the whole prompt; how many there are, or an `organ_end`.
int32_t organ_embed(organ_answer * answer, const llama_model * model, float * numbers, size_t size) {
    try {
        const size_t many = llama_model_n_embd_out(model);
        if (many > size || !read_prompt(answer)) {
            return ORGAN_FAULT;
        }
        const float * found = llama_get_embeddings_seq(answer->context.get(), 0);
        if (found == nullptr) {
            return ORGAN_FAULT;
        }
        double square = 0;
        for (size_t at = 0; at < many; at++) {
            square += double(found[at]) * found[at];
        }
        // As long as 1, so that the product of two is how near they are.
        const float length = square > 0 ? float(std::sqrt(square)) : 1.0f;
        for (size_t at = 0; at < many; at++) {
            numbers[at] = found[at] / length;
        }
        return int32_t(many);
    } catch (...) {
        return ORGAN_FAULT;
    }
}
}
