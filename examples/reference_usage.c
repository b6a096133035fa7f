/* reference_usage.c - the usage story of the reference implementation, told with u2i: a catalogue in
 * Chinese and English, one user's interactions newest first, recommendations. Articles on AI come
 * first, because that is what the user acted on; what was acted on comes back only when asked for.
 * The program checks both and exits with 1 if they do not hold. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <u2i.h>

#define USER     "user_001"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const u2i_item_t articles[] = {
    {.id = "item_001",
     .title = "深度学习入门",
     .text = "从零开始理解神经网络与反向传播，人工智能的基础",
     .category = "AI"},
    {.id = "item_002",
     .title = "大语言模型应用开发",
     .text = "用大语言模型构建智能问答与检索增强生成",
     .category = "AI"},
    {.id = "item_003",
     .title = "Machine learning in practice",
     .text = "Neural networks, gradient boosting and how to evaluate a model",
     .category = "AI"},
    {.id = "item_004",
     .title = "自然语言处理实战",
     .text = "分词、词向量与神经网络语言模型",
     .category = "AI"},
    {.id = "item_005",
     .title = "Computer vision with neural networks",
     .text = "Deep learning models that see: detection, segmentation",
     .category = "AI"},
    {.id = "item_006",
     .title = "强化学习的数学原理",
     .text = "智能体如何学习：价值函数与策略梯度",
     .category = "AI"},
    {.id = "item_007",
     .title = "川菜家常做法",
     .text = "麻婆豆腐、回锅肉和鱼香肉丝的做法",
     .category = "美食"},
    {.id = "item_008",
     .title = "Fresh pasta at home",
     .text = "Flour, eggs and patience: tagliatelle and ravioli",
     .category = "Cooking"},
    {.id = "item_009",
     .title = "西藏自驾游攻略",
     .text = "线路、高原反应和最佳季节",
     .category = "旅行"},
    {.id = "item_010",
     .title = "Walking in the Alps",
     .text = "Huts, passes and weather in ten tours",
     .category = "Travel"},
    {.id = "item_011", .title = "基金投资入门", .text = "指数基金、定投与风险", .category = "理财"},
    {.id = "item_012",
     .title = "马拉松训练计划",
     .text = "十六周跑完全程：配速与恢复",
     .category = "运动"}};

/* Newest first, as the reference takes them; unknown items are skipped with their own weight. */
static const u2i_event_t interactions[] = {{.item = "item_001", .action = "purchase"},
                                           {.item = "item_003", .action = "favorite"},
                                           {.item = "item_999", .action = "purchase"},
                                           {.item = "item_002", .action = "click"},
                                           {.item = "item_009", .action = "view"}};

static bool acted_on(const char *id) {
    for (size_t i = 0; i < COUNT(interactions); i++) {
        if (strcmp(interactions[i].item, id) == 0) {
            return true;
        }
    }
    return false;
}

static void print_hit(const u2i_hit_t *hit) {
    printf("  %.3f  %s  [%s]  %s", (double)hit->score, hit->id, hit->category, hit->title);
    if (hit->because != NULL) {
        printf("  (you: %s %s)", hit->because_action, hit->because_title);
    }
    printf("\n");
}

/* Prints the recommendations; true if they are AI articles only, and contain something that the user
 * acted on exactly if that was asked for. */
static bool recommend(u2i_t *u, uint32_t limit, uint32_t flags, u2i_error_t *err) {
    u2i_query_t query = U2I_QUERY_INIT;
    u2i_result_t *result = NULL;
    query.user = USER;
    query.limit = limit;
    query.flags = flags;
    if (u2i_recommend(u, &query, &result, err) != U2I_OK) {
        return false;
    }
    bool all_ai = u2i_result_count(result) == limit, any_seen = false;
    for (size_t i = 0; i < u2i_result_count(result); i++) {
        const u2i_hit_t *hit = u2i_result_hit(result, i);
        all_ai = all_ai && strcmp(hit->category, "AI") == 0;
        any_seen = any_seen || acted_on(hit->id);
        print_hit(hit);
    }
    u2i_result_free(result);
    return all_ai && any_seen == ((flags & U2I_KEEP_SEEN) != 0);
}

static bool tell(u2i_t *u, u2i_error_t *err) {
    u2i_interactions_t in = U2I_INTERACTIONS_INIT;
    size_t used = 0;
    in.user = USER;
    in.events = interactions;
    in.n = COUNT(interactions);
    in.decay = 0.9; /* the newest weighs 1, the one before 0.9, then 0.81, ... */
    if (u2i_put_items(u, articles, COUNT(articles), sizeof(articles[0]), err) != U2I_OK ||
        u2i_update_user_profile(u, &in, &used, err) != U2I_OK) {
        return false;
    }
    printf("%zu of %zu interactions counted\n\nrecommended to %s:\n", used, in.n, USER);
    const bool fresh = recommend(u, 3, 0, err);
    printf("\nwith what was acted on:\n");
    const bool all = recommend(u, 6, U2I_KEEP_SEEN, err);
    return used == 4 && fresh && all;
}

int main(void) {
    u2i_error_t err = {0};
    u2i_t *u = NULL;
    bool ok = u2i_open(":memory:", NULL, &u, &err) == U2I_OK;
    ok = ok && tell(u, &err);
    if (!ok) {
        fprintf(stderr, "not as promised: %s\n", err.msg);
    }
    u2i_close(u);
    return ok ? 0 : 1;
}
